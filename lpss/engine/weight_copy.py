"""What is read of a weight that holds its active entries alone."""

import re

import torch
from torch import Tensor

from lpss.engine.functions import Expand
from lpss.engine.site import Site
from lpss.errors import UsageError

# Names of functions that write to their first argument: add_, __iadd__, __setitem__, and setting an attribute.
_WRITES = re.compile(
    r"\w*[^_]_|__i(?:add|sub|mul|matmul|truediv|floordiv|mod|pow|and|or|xor|lshift|rshift)__|__set(?:item)?__"
)
_DATA = torch.Tensor.data.__get__


class WeightCopy(Tensor):
    """A dense copy of a weight, with its history for autograd. Whoever writes to it means the weight, which would not
    change: that is a UsageError. What is computed from it are ordinary tensors."""

    @classmethod
    def of(cls, values: Tensor, site: Site) -> "WeightCopy":
        """Of the active entries that a site's weight holds."""
        return Expand.apply(values, site).as_subclass(cls)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _WRITES.fullmatch(function.__name__) or function == _DATA:
            written = args[0] if args else next(iter(kwargs.values()))
        else:
            written = kwargs.get("out")
        if any(isinstance(x, cls) for x in (written if isinstance(written, (list, tuple)) else (written,))):
            raise UsageError(
                "this is a copy of a weight of which an accelerated net keeps the active entries alone: write to the "
                "weight within `with method.dense_weights():`"
            )
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **kwargs)

    def __reduce_ex__(self, protocol):
        return self.as_subclass(Tensor).__reduce_ex__(protocol)  # a file holds an ordinary tensor
