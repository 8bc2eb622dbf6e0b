"""One layer's weight and how it is kept now: whole, or its active entries alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lpss.active import ATTRIBUTE
from lpss.engine.pattern import Pattern

if TYPE_CHECKING:
    from lpss.engine.accelerate import Acceleration


class Site:
    """Where a module of modules.py finds its pattern.

    pattern: of the active entries that the module's weight holds; None while the weight is whole. waiting: whether it
    has been made whole for a while only, and is to be closed before it is used next.

    A copy, with the module's, is its own: it stays as it is.
    """

    def __init__(self, module: nn.Module, name: str, owner: Acceleration | None = None):
        self.module, self.name, self.owner = module, name, owner
        self.pattern: Pattern | None = None
        self.waiting = False
        self.strides = self.parameter.stride()
        self._pass: int | None = None  # the backward pass that gave a dense gradient last

    def __reduce__(self):
        return Site._alone, (self.name, self.pattern, self.strides)

    @classmethod
    def _alone(cls, name: str, pattern: Pattern | None, strides: tuple[int, ...]) -> Site:
        site = cls.__new__(cls)
        site.name, site.owner, site.pattern, site.strides = name, None, pattern, strides
        site.waiting, site._pass = False, None
        return site

    def adopt(self, module: nn.Module) -> None:
        """Be the place of this module's weight."""
        self.module = module
        if self.pattern is not None:
            setattr(self.parameter, ATTRIBUTE, self.pattern)

    @property
    def parameter(self) -> nn.Parameter:
        """The layer's weight."""
        return self.module._parameters["weight"]

    def wait(self) -> None:
        """Be whole, for what is to be loaded, until the weight is used next."""
        if self.owner is None:
            self.open()
        else:
            self.owner.open_one(self)
        self.waiting = True

    def settle(self) -> None:
        """Close a weight that waits for it."""
        if self.waiting and self.owner is not None:
            self.owner.settle_one(self)

    def want_dense(self) -> bool:
        """Whether the dense gradient of the backward pass that runs now is needed."""
        return self.owner is not None and self.owner.method.wants_dense_gradients

    def give_dense(self, gradient: Tensor) -> None:
        """Hand over the dense gradient of one use of the weight, of its shape."""
        before, self._pass = self._pass, torch._C._current_graph_task_id()
        self.owner.method.gradients.add(self.name, gradient, again=before == self._pass)

    def state(self) -> dict:
        """The optimizer's state of the weight, name -> value."""
        return {} if self.owner is None else self.owner.method.optimizer.state.get(self.parameter, {})

    def close(self, pattern: Pattern) -> None:
        """Keep the pattern's entries of the weight, its gradient and its optimizer's state."""
        _replace(self.parameter, self.state(), pattern.gather)
        setattr(self.parameter, ATTRIBUTE, pattern)
        self.pattern, self.waiting = pattern, False

    def open(self) -> None:
        """Make the weight, its gradient and its state whole again."""
        if self.pattern is None:
            return
        pattern, self.pattern = self.pattern, None
        delattr(self.parameter, ATTRIBUTE)
        _replace(self.parameter, self.state(), lambda x: self._whole(pattern, x))

    def _whole(self, pattern: Pattern, values: Tensor) -> Tensor:
        whole = pattern.expand(values)
        if whole.stride() == self.strides:
            return whole
        return torch.empty_strided(whole.shape, self.strides, dtype=whole.dtype, device=whole.device).copy_(whole)


@torch.inference_mode(False)
@torch.no_grad()
def _replace(parameter: nn.Parameter, state: dict, change: Callable[[Tensor], Tensor]) -> None:
    """Change the data of a parameter, its gradient and its state, which are tensors of its shape."""
    gradient, parameter.grad = parameter.grad, None
    for key, value in state.items():
        if torch.is_tensor(value) and value.shape == parameter.shape:
            state[key] = change(value)
    data = change(parameter.data)
    # Autograd keeps the node that accumulates gradients as long as a graph does (the loss of the step before), and with
    # it the shape; it makes a new one when the dtype changes.
    parameter.data = torch.empty(0, dtype=torch.float16 if data.dtype != torch.float16 else torch.float32)
    parameter.data = data
    if gradient is not None:
        parameter.grad = change(gradient)
