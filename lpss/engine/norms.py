"""Batch normalisation modules that do the ReLU and the residual after it in the same pass.

They take images with channels last, and what is in the kernels' layout (layout.py); all else is left to torch.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpss.engine import channels_last
from lpss.engine.channels_last import NormalizeRows
from lpss.engine.functions import Normalize
from lpss.engine.layout import step_of
from lpss.engine.products import usable


class _Norm:
    """What norms share. dims: of their input."""

    fuses_relu = True
    dims: int

    @torch._disable_dynamo
    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """relu(norm(x) + residual) in one pass; plain norm(x) as it stands."""
        function = self._function(x, residual)
        if function is not None:
            return self._normalize(function, x, residual, relu)
        y = super().forward(x)
        y = y if residual is None else y + residual
        return F.relu(y) if relu else y

    def _function(self, x: Tensor, residual: Tensor | None) -> type[torch.autograd.Function] | None:
        """What normalises this input; None for torch's own operations."""
        if not (
            x.dim() == self.dims
            and usable(self.weight, self.running_mean)
            and (residual is None or residual.shape == x.shape)
            and x.shape[1] == self.num_features
            and x.numel() > x.shape[1]
            and self.weight is not None
            and (self.training or self.running_mean is not None)
        ):
            return None
        if step_of(x) is not None and usable(x, residual):
            return Normalize
        return NormalizeRows if x.dim() == 4 and channels_last.fits(x, residual) else None

    def _normalize(
        self, function: type[torch.autograd.Function], x: Tensor, residual: Tensor | None, relu: bool
    ) -> Tensor:
        by_batch = self.training or self.running_mean is None
        if by_batch:
            statistics = torch.empty(3, x.shape[1])
        else:
            statistics = torch.stack((self.running_mean, (self.running_var + self.eps).rsqrt(), self.running_var))
        y = function.apply(x, self.weight, self.bias, residual, statistics, relu, by_batch, self.eps)
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            part = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(statistics[0], part)
            self.running_var.lerp_(statistics[2], part)
        return y


class FastBatchNorm1d(_Norm, nn.BatchNorm1d):
    """nn.BatchNorm1d of (batch, features)."""

    dims = 2


class FastBatchNorm2d(_Norm, nn.BatchNorm2d):
    """nn.BatchNorm2d."""

    dims = 4


class FastSequential(nn.Sequential):
    """nn.Sequential in which norms do the ReLU that comes next, unless a hook watches one of them."""

    def forward(self, x: Tensor) -> Tensor:
        done = False  # whether the norm before has done this ReLU
        for module, following in pairwise([*self, None]):
            if done:
                done = False
            else:
                done = _fuse(module, following)
                x = module(x, relu=True) if done else module(x)
        return x


def _fuse(module: nn.Module, following: nn.Module | None) -> bool:
    return isinstance(module, _Norm) and type(following) is nn.ReLU and not any(map(_hooked, (module, following)))


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
