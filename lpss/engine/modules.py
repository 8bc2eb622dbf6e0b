"""Modules that compute sparse, and those between them that keep the kernels' layout.

Each is a subclass of torch's module that an accelerated one becomes: its class is exchanged, its parameters, buffers,
name and hooks stay. `plain` exchanges it back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lpss.engine.functions import LeaveLayout, SparseProduct
from lpss.engine.layout import step_of, to_layout
from lpss.engine.norms import FastBatchNorm1d, FastBatchNorm2d, FastSequential
from lpss.engine.pattern import PIXEL, Geometry
from lpss.engine.products import product
from lpss.engine.weight_copy import WeightCopy
from lpss.layers import Layer

DTYPES = (torch.float32, torch.float64)


class SparseWeight:
    """What sparse Linear and Conv2d share: a weight that is dense, or holds its active entries alone.

    `site`: where and how the weight is kept (lpss/engine/site.py). The parameter `weight` is (active,) while the layer
    is sparse; the attribute `weight` is a dense copy of it then, for whoever reads it, with its history for autograd.
    """

    @property
    def weight(self) -> Tensor:
        parameter = self._parameters["weight"]
        return WeightCopy.of(parameter, self.site) if self._closed else parameter

    @property
    def _closed(self) -> bool:
        """Whether the parameter holds active entries alone: functional_call may give a whole one in its place."""
        return self.site.pattern is not None and self._parameters["weight"].dim() == 1

    def _sparse(self, x: Tensor, geometry: Geometry) -> Tensor:
        """W x + bias of a batch (batch, features) or (batch, channels, height, width)."""
        site = self.site
        values = self._parameters["weight"]
        if x.dtype != values.dtype and torch.is_autocast_enabled("cpu"):
            x = x.to(values.dtype)
        if not torch.is_grad_enabled():
            return product(site.pattern, geometry, to_layout(x), values, self.bias)
        return SparseProduct.apply(x, values, self.bias, site.pattern, geometry, site.want_dense, site.give_dense)

    def _takes(self, x: Tensor, channels_dim: int, dims: tuple[int, ...]) -> bool:
        """Whether the layer computes sparse now, on this input. What does not fit is left to torch, and its errors."""
        self.site.settle()
        weight = self._parameters["weight"]
        return (
            self._closed
            and x.is_cpu
            and weight.is_cpu
            and weight.dtype in DTYPES
            and (x.dtype == weight.dtype or torch.is_autocast_enabled("cpu"))
            and x.dim() in dims
            and x.shape[channels_dim] == self.site.pattern.channels
        )

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if self.site.owner is None:  # a copy of its own, whose parameters lose their attributes
            self.site.adopt(self)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._closed:
            weight = self._parameters["weight"]
            destination[prefix + "weight"] = self.weight if keep_vars else self.site.pattern.expand(weight)

    def _load_from_state_dict(self, state: dict, prefix: str, *args, **kwargs) -> None:
        if prefix + "weight" in state:
            self.site.wait()  # its new entries may be elsewhere
        super()._load_from_state_dict(state, prefix, *args, **kwargs)


class SparseLinear(SparseWeight, nn.Linear):
    """nn.Linear from its active weights."""

    @torch._disable_dynamo
    def forward(self, x: Tensor) -> Tensor:
        if not self._takes(x, -1, tuple(range(1, 16))):
            return super().forward(x)
        if x.dim() == 2:
            return self._sparse(x, PIXEL)
        y = self._sparse(x.reshape(-1, x.shape[-1]), PIXEL)
        return y.unflatten(0, x.shape[:-1]) if x.dim() > 1 else y.squeeze(0)


class SparseConv2d(SparseWeight, nn.Conv2d):
    """nn.Conv2d from its active weights; zero padding, no groups, no dilation."""

    @torch._disable_dynamo
    def forward(self, x: Tensor) -> Tensor:
        if not self._takes(x, -3, (3, 4)) or min((geometry := conv_geometry(self, x)).output) < 1:
            return super().forward(LeaveLayout.apply(x) if x.is_cpu and x.dim() == 4 and step_of(x) else x)
        alone = x.dim() == 3
        y = self._sparse(x.unsqueeze(0) if alone else x, geometry)
        return y.squeeze(0) if alone else y


def conv_geometry(module: nn.Conv2d, x: Tensor) -> Geometry:
    """Of a conv that reads images x, (..., channels, height, width)."""
    padding = module.padding
    if padding == "valid":
        padding = 0, 0
    elif padding == "same":
        padding = tuple(size // 2 for size in module.kernel_size)
    return Geometry(x.shape[-2], x.shape[-1], module.kernel_size, module.stride, padding)


class _Pool:
    """Pooling in the kernels' layout: to torch it is one image of channels x batch channels, which come last."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or step_of(x) != x.shape[0] or min(x.shape) == 0 or getattr(self, "return_indices", False):
            return super().forward(x)
        batch, channels, height, width = x.shape
        together = x.permute(2, 3, 1, 0).reshape(1, height, width, channels * batch).permute(0, 3, 1, 2)
        y = super().forward(together)
        return y.permute(0, 2, 3, 1).unflatten(3, (channels, batch)).squeeze(0).permute(3, 2, 0, 1)


class FastMaxPool2d(_Pool, nn.MaxPool2d):
    """nn.MaxPool2d."""


class FastAvgPool2d(_Pool, nn.AvgPool2d):
    """nn.AvgPool2d."""


SPARSE = {nn.Linear: SparseLinear, nn.Conv2d: SparseConv2d}
FUSED = {nn.BatchNorm2d: FastBatchNorm2d, nn.Sequential: FastSequential}
BETWEEN = FUSED | {
    nn.BatchNorm1d: FastBatchNorm1d,
    nn.MaxPool2d: FastMaxPool2d,
    nn.AvgPool2d: FastAvgPool2d,
}


def exchange(module: nn.Module) -> None:
    """Make a module the one that computes sparse, or keeps the layout, in place."""
    module.__class__ = (SPARSE | BETWEEN)[type(module)]


def plain(module: nn.Module) -> None:
    """Undo `exchange`."""
    module.__class__ = {fast: own for own, fast in (SPARSE | BETWEEN).items()}[type(module)]
    vars(module).pop("site", None)


def exchange_between(net: nn.Module, sparse: bool = True) -> list[nn.Module]:
    """Have what stands between layers keep the layout, where layers compute `sparse`; in a dense net, have norms of
    images on the CPU do the ReLU and residual that follow them. Returns the modules that have been exchanged."""
    if not sparse and not any(type(module) is nn.BatchNorm2d and _on_cpu(module) for module in net.modules()):
        return []
    changed = [module for module in net.modules() if type(module) in (BETWEEN if sparse else FUSED)]
    for module in changed:
        exchange(module)
    return changed


def _on_cpu(norm: nn.BatchNorm2d) -> bool:
    return norm.weight is not None and norm.weight.is_cpu


@contextmanager
def whole_weights(net: nn.Module) -> Iterator[None]:
    """Within it the net computes the same from whole weights, by torch's own products; they are copies."""
    layers = [module for module in net.modules() if isinstance(module, SparseWeight)]
    for module in layers:
        module.site.settle()
    kept = [(module, module._parameters["weight"]) for module in layers if module._closed]
    for module, values in kept:
        module._parameters["weight"] = nn.Parameter(module.site.pattern.expand(values))
    try:
        yield
    finally:
        for module, values in kept:
            module._parameters["weight"] = values


def obstacle(layer: Layer) -> str | None:
    """Why a layer cannot compute sparse; None if it can."""
    module = layer.module
    if layer.obstacle is not None:
        return layer.obstacle
    if type(module) not in SPARSE:
        return f"a {type(module).__name__}"
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is parametrized"
    if not weight.is_cpu:
        return f"on {weight.device.type}, where dense products are faster"
    if weight.dtype not in DTYPES:
        return f"of {str(weight.dtype).removeprefix('torch.')}"
    if isinstance(module, nn.Conv2d):
        if module.groups != 1:
            return "a convolution in groups"
        if module.dilation != (1, 1):
            return "a dilated convolution"
        if module.padding_mode != "zeros":
            return f"padded by {module.padding_mode}"
        if module.padding == "same" and any(size % 2 == 0 for size in module.kernel_size):
            return "padded unevenly"
    return None
