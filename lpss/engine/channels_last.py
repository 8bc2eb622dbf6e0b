"""Batch normalisation with its ReLU and residual, in one pass over images with channels last."""

import ctypes
import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lpss.engine.layout import copy_threads, from_layout, step_of
from lpss.native import loader

DTYPES = (torch.float32, torch.bfloat16)
ROW = 64  # numbers that a wide row is a multiple of: STRIP vectors of the C code
WIDEST = 4096  # numbers in a wide row; beyond it what is repeated for each channel would leave the cache
PARTS = 16  # of which sums are taken, as in the C code


def fits(x: Tensor, residual: Tensor | None) -> bool:
    """Whether `NormalizeRows` takes these images."""
    return (
        x.is_cpu
        and x.dtype in DTYPES
        and (residual is None or residual.dtype == x.dtype and residual.is_cpu)
        and x.is_contiguous(memory_format=torch.channels_last)
        and math.lcm(x.shape[1], ROW) <= WIDEST
        and loader.library() is not None
    )


class _Rows(ctypes.Structure):
    _fields_ = (
        [(name, ctypes.c_int64) for name in ("rows", "channels", "width")]
        + [(name, ctypes.c_void_p) for name in ("x", "y", "residual", "dy", "scale", "bias", "mean", "inverse")]
        + [(name, ctypes.c_void_p) for name in ("center", "gain", "shift", "slope", "level", "sums")]
        + [(name, ctypes.c_int) for name in ("relu", "training", "half")]
    )


def _rows(x: Tensor, relu: bool, training: bool, **tensors: Tensor | None) -> tuple[_Rows, tuple[Tensor, ...]]:
    """The C code's view of images, and the memory that it needs while it runs."""
    channels = x.shape[1]
    width = math.lcm(channels, ROW)
    lines, sums = torch.empty(5, width), torch.empty(PARTS, 2, width, dtype=torch.float64)
    rows = _Rows(x.numel() // channels, channels, width, relu=relu, training=training, half=x.dtype == torch.bfloat16)
    named = tensors | {"x": x, "sums": sums} | dict(zip(("center", "gain", "shift", "slope", "level"), lines, strict=True))
    for name, tensor in named.items():
        setattr(rows, name, _pointer(tensor))
    return rows, (lines, sums)


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _channels_last(x: Tensor) -> Tensor:
    """x itself, or a copy with channels last; without history."""
    x = x.detach()
    if x.is_contiguous(memory_format=torch.channels_last):
        return x
    return from_layout(x) if step_of(x) is not None else x.contiguous(memory_format=torch.channels_last)


class NormalizeRows(torch.autograd.Function):
    """relu(norm(x) + residual) of images with channels last, float32 or bfloat16, for which `fits`; residual and ReLU
    may be left out. Arithmetic is float32, and so are the gradients of scale and bias.

    In training `statistics` (3, channels) is written: the batch's mean, 1 / deviation, and unbiased variance; else it
    is read. Takes a batch of more than one value a channel.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        statistics: Tensor,
        relu: bool,
        training: bool,
        epsilon: float,
    ) -> Tensor:
        x = x.detach()
        added = None if residual is None else _channels_last(residual)
        y = torch.empty_like(x, memory_format=torch.channels_last)
        mean, inverse, variance = statistics
        rows, _memory = _rows(x, relu, training, residual=added, scale=scale, bias=bias, mean=mean, inverse=inverse)
        threads = copy_threads(x.numel())
        loader.library().rows_norm_forward(ctypes.byref(rows), epsilon, variance.data_ptr(), y.data_ptr(), threads)
        # Without a residual x tells where ReLU was zero, which saves a pass over y.
        ctx.save_for_backward(x, y if relu and residual is not None else None, scale, bias, statistics)
        ctx.relu, ctx.training = relu, training
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, y, scale, bias, (mean, inverse, _) = ctx.saved_tensors
        dy = _channels_last(dy)
        for_x, for_scale, for_bias, for_residual = ctx.needs_input_grad[:4]
        dx = torch.empty_like(dy) if for_x else None
        dresidual = torch.empty_like(dy) if for_residual and ctx.relu else None
        dscale = torch.empty(x.shape[1]) if for_scale else None
        dbias = torch.empty(x.shape[1]) if for_bias else None
        named = {"y": y, "dy": dy, "scale": scale, "bias": bias, "mean": mean, "inverse": inverse}
        rows, _memory = _rows(x, ctx.relu, ctx.training, **named)
        to = map(_pointer, (dx, dresidual, dscale, dbias))
        loader.library().rows_norm_backward(ctypes.byref(rows), *to, copy_threads(x.numel()))
        if for_residual and not ctx.relu:
            dresidual = dy
        return dx, dscale, dbias, dresidual, None, None, None, None
