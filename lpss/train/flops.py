"""Counts the FLOPs of a net's forward pass: 2 x the multiply-adds of every product, each with the layer it belongs to.

The forward pass is watched operation by operation, so it does not matter which module calls a product, how often, or
through which view of a weight. A product one of whose factors is a layer's weight (or its slice, its transpose, or what
pruning and weight_norm make of it) belongs to that layer; all others, such as those of queries and keys, to none.
The FLOPs of an operation are those of torch.utils.flop_counter, with formulas for the few products it does not know.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from lpss.engine.modules import whole_weights
from lpss.errors import UsageError
from lpss.layers import ASKED_ROLES, all_layers, unwrap

aten = torch.ops.aten
Example = Tensor | tuple | Mapping


def _attention(query, key, value, *args, out_val=None, **kwargs) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


# Products that torch's flop_registry lacks.
OTHER_FORMULAS = {
    aten.mv: lambda a, x, **_: 2 * a.numel(),
    aten.addmv: lambda bias, a, x, **_: 2 * a.numel(),
    aten.dot: lambda a, b, **_: 2 * a.numel(),
    aten.vdot: lambda a, b, **_: 2 * a.numel(),
    aten.addbmm: lambda bias, a, b, **_: 2 * a.numel() * b.shape[2],
    # A Bilinear layer: its weight with one input. The product with the other is one in_features2-th of that.
    aten._trilinear: lambda x, weight, y, *args, **_: 2 * prod(x.shape[:1]) * weight.numel(),
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_fused_attention_overrideable: _attention,
}
# Operations that leave a weight's zeros where they are, and give it as another tensor. (Views are still the weight.)
ZEROS_STAY = {aten.mul, aten.div, aten.neg, aten.clone, aten._to_copy, aten._weight_norm_interface, aten.flip}
# Names of operations that are products or hold some. What has no formula is not counted, and reported.
PRODUCT = re.compile(
    r"(?:[bd_]|^)m[mv](?:_|$)|dot(?:_|$)|conv(?!ert)|linear(?!\dd|[a-z])|attention|attn|transformer|"
    r"(?<!_thnn_fused_)(?:rnn|lstm|gru)|linalg(?!_vector_norm|_check)|[cp]dist|_dist(?:_|$)|fft|cholesky|(?<!re)solve"
)


@dataclass
class Flops:
    """FLOPs of one dense forward pass.

    layers: name of a layer with a weight -> FLOPs of its products, over all calls, in order of the first call.
    other: FLOPs of products without such a weight. not_counted: a line for everything known to be left out.
    """

    layers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    other: int = 0
    not_counted: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.layers.values()) + self.other


def count_flops(net: nn.Module, example: Example) -> Flops:
    """The FLOPs of a dense forward pass in eval mode; the net stays as it is.

    Args:
        net: any module.
        example: what the net takes: a tensor (1, *input shape), a tuple of arguments or a dict of keyword arguments.
            A batch of 1 gives FLOPs per example.

    Attention counts every pair of positions, whatever its mask. Normalisation, activations, pooling, look-ups and other
    elementwise work are not counted. Work that is not done by torch's operations cannot be seen.

    Raises UsageError where the forward pass holds no product, and for lazy or sharded layers.
    """
    modes = {module: module.training for module in net.modules()}
    with ExitStack() as stack:
        stack.enter_context(whole_weights(net))
        counter = _Counter(net)
        stack.callback(lambda: [setattr(module, "training", mode) for module, mode in modes.items()])
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)  # one operation for a whole layer
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        if any(isinstance(module, nn.RNNBase) for module in net.modules()):  # else one operation for all time steps
            stack.callback(setattr, torch.backends.mkldnn, "enabled", torch.backends.mkldnn.enabled)
            torch.backends.mkldnn.enabled = False
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(torch.no_grad())
        net.eval()
        stack.enter_context(counter)
        if isinstance(example, Mapping):
            net(**example)
        else:
            net(*example if type(example) is tuple else (example,))  # a PackedSequence is one argument
    return counter.result()


class _Counter(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self, net: nn.Module):
        super().__init__()
        self.layers = all_layers(unwrap(net))
        self.flops = Flops()
        self.unknown: dict[str, int] = defaultdict(int)  # operation -> calls
        self.kept: list[Tensor] = []  # so that no other tensor takes the storage of one that is in `places`
        self.places: dict[int, list[tuple[int, int, str]]] = defaultdict(list)  # storage -> from, to, layer
        for layer in self.layers:
            self._note(layer.parameter, layer.name)

    def _note(self, tensor: Tensor, layer: str) -> None:
        start = tensor.storage_offset()
        self.places[tensor.untyped_storage()._cdata].append((start, start + tensor.numel(), layer))
        self.kept.append(tensor)

    def _layer_of(self, tensor: Tensor) -> str | None:
        """The layer whose weight this is, or is a view of."""
        if tensor.layout is not torch.strided:
            return None
        # Several weights can lie in one storage, as those of an LSTM on a GPU do.
        for start, end, layer in self.places.get(tensor.untyped_storage()._cdata, ()):
            if start <= tensor.storage_offset() < end:
                return layer
        return None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        operation = getattr(func, "_overloadpacket", func)
        formula = OTHER_FORMULAS.get(operation) or flop_registry.get(operation)
        if formula is None and isinstance(func, torch._ops.OpOverload):
            with self:  # what is made of other operations, where torch has not taken it apart already
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        operands = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        names = [name for name in map(self._layer_of, operands) if name is not None]
        if formula is not None:
            self._add(formula(*args, **kwargs, out_val=result), names)
        elif operation in ZEROS_STAY and names:
            self._follow(operands, result)
        elif self._may_hold_products(func):
            self.unknown[str(operation)] += 1
        return result

    def _add(self, flops: int, names: Iterable[str]) -> None:
        # Of two weights, such as those of a Linear that reads a bare parameter, the Linear's.
        name = next((layer.name for layer in self.layers if layer.name in names), None)
        if name is None:
            self.flops.other += flops
        else:
            self.flops.layers[name] += flops

    def _follow(self, operands: Iterable[Tensor], result) -> None:
        result = result[0] if isinstance(result, tuple) else result
        for operand in operands:
            name = self._layer_of(operand)
            if name is not None and operand.numel() == result.numel():
                self._note(result, name)
                return

    @staticmethod
    def _may_hold_products(func) -> bool:
        if not isinstance(func, torch._ops.OpOverload):
            return True
        if func.namespace not in ("aten", "prims", "prim"):
            return True
        return PRODUCT.search(func._opname) is not None

    def result(self) -> Flops:
        flops = self.flops
        flops.layers = dict(flops.layers)
        if not flops.total:
            raise UsageError("the forward pass of the example holds no product that could be counted")
        for name, calls in self.unknown.items():
            flops.not_counted.append(f"{name} ({calls} {'call' if calls == 1 else 'calls'}): no formula is known")
        idle = [layer.name for layer in self.layers if layer.role not in ASKED_ROLES and layer.name not in flops.layers]
        if idle:
            names = ", ".join(idle if len(idle) < 5 else [*idle[:3], f"{len(idle) - 3} more"])
            reason = "not called with the example in eval mode, or not used as it is, which counts as dense"
            flops.not_counted.append(f"{names}: the weight is in no product ({reason})")
        return flops
