"""Batch normalisation with its ReLU and residual, in one pass over images with channels last."""

import ctypes
import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lpss.engine.layout import copy_threads, from_layout, pointer, step_of
from lpss.native import loader

DTYPES = (torch.float32, torch.bfloat16)
ROW = 64  # what the C code asks of a wide row: a multiple of its strips, however long vectors are
WIDEST = 4096  # numbers in a wide row; beyond it what is repeated for each channel would leave the cache
LINES, PARTS = 5, 16  # as in the C code


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
        + [
            (name, ctypes.c_void_p)
            for name in ("x", "y", "residual", "dy", "scale", "bias", "statistics", "lines", "sums")
        ]
        + [(name, ctypes.c_int) for name in ("relu", "training", "half")]
    )

    @classmethod
    def of(cls, *tensors: Tensor | None, relu: bool, training: bool) -> "_Rows":
        """Of x, y, residual, dy, scale, bias and statistics. Has the memory that the C code needs while it runs."""
        x = tensors[0]
        channels = x.shape[1]
        width = math.lcm(channels, ROW)
        memory = torch.empty(LINES * width), torch.empty(PARTS * 2 * width, dtype=torch.float64)
        pointers = map(pointer, (*tensors, *memory))
        rows = cls(x.numel() // channels, channels, width, *pointers, relu, training, x.dtype == torch.bfloat16)
        rows.memory = memory
        return rows


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
        rows = _Rows.of(x, None, added, None, scale, bias, statistics, relu=relu, training=training)
        loader.library().rows_norm_forward(ctypes.byref(rows), epsilon, y.data_ptr(), copy_threads(x.numel()))
        # Without a residual x tells where ReLU was zero, which saves a pass over y.
        ctx.save_for_backward(x, y if relu and residual is not None else None, scale, bias, statistics)
        ctx.relu, ctx.training = relu, training
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, y, scale, bias, statistics = ctx.saved_tensors
        dy = _channels_last(dy)
        for_x, for_scale, for_bias, for_residual = ctx.needs_input_grad[:4]
        dx = torch.empty_like(dy) if for_x else None
        dresidual = torch.empty_like(dy) if for_residual and ctx.relu else None
        dscale = torch.empty(x.shape[1]) if for_scale else None
        dbias = torch.empty(x.shape[1]) if for_bias else None
        rows = _Rows.of(x, y, None, dy, scale, bias, statistics, relu=ctx.relu, training=ctx.training)
        to = map(pointer, (dx, dresidual, dscale, dbias))
        loader.library().rows_norm_backward(ctypes.byref(rows), *to, copy_threads(x.numel()))
        if for_residual and not ctx.relu:
            dresidual = dy
        return dx, dscale, dbias, dresidual, None, None, None, None
