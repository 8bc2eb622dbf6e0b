"""The kernels' layout of activations: the batch innermost.

A tensor keeps its usual shape, (batch, features) or (batch, channels, height, width), and lies in memory as (features,
batch) or (height, width, channels, batch). Elementwise operations keep this order, so that the next layer finds its
input in place; only a net's input and its logits are copied.
"""

from math import prod

import torch
from torch import Tensor

from lpss.native import loader

LINE = 16  # float32 numbers in a line of the cache


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialised tensor of this shape, (batch, features) or (batch, channels, height, width), in the layout.

    Batches of a line and more begin at a line each.
    """
    batch = shape[0]
    step = batch if batch < LINE else -(-batch // LINE) * LINE
    if len(shape) == 2:
        strides = 1, step
    else:
        strides = 1, step, shape[3] * shape[1] * step, shape[1] * step
    if batch == 1:  # it means nothing, but torch's batch normalisation errs on one that is not usual
        strides = prod(shape[1:]), *strides[1:]
    return torch.empty_strided(shape, strides, dtype=like.dtype, device=like.device)


def step_of(x: Tensor) -> int | None:
    """The distance between channels of a tensor in the layout; None for one that is not in it."""
    # Without loops: it is asked several times a layer. Strides of sides of length 1 mean nothing.
    if x.dim() == 2:
        batch, features = x.shape
        first, step = x.stride()
        step = step if features > 1 else batch
        return step if (first == 1 or batch == 1) and step >= batch else None
    if x.dim() != 4:
        return None
    batch, channels, height, width = x.shape
    first, step, down, right = x.stride()
    if channels == 1:
        step = right if width > 1 else down if height > 1 else batch
    fits = (
        (first == 1 or batch == 1)
        and (width == 1 or right == channels * step)
        and (height == 1 or down == width * channels * step)
    )
    return step if fits and step >= batch else None


def to_layout(x: Tensor, aligned: bool = True) -> Tensor:
    """x itself, or a copy in the layout; without history. `aligned`: batches of a line and more begin at a line."""
    x = x.detach()
    step = step_of(x)
    if step is not None and not (aligned and step % LINE and x.shape[0] >= LINE):
        return x
    copy = empty(tuple(x.shape), x)
    library = loader.library() if x.dtype == torch.float32 and x.is_cpu and x.numel() else None
    matrices = _as_matrices(x, step_of(copy)) if library is not None and step is None else None
    if matrices is None:
        return copy.copy_(x)
    library.transpose(x.data_ptr(), copy.data_ptr(), *matrices, copy_threads(x.numel()))
    return copy


def from_layout(x: Tensor) -> Tensor:
    """Images in the layout -> channels last; without history."""
    x = x.detach()
    copy = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
    library = loader.library() if x.dtype == torch.float32 and x.numel() else None
    if library is None:
        return copy.copy_(x)
    features = x[0].numel()
    sizes = (1, features, x.shape[0], step_of(x), features, 0, 0)
    library.transpose(x.data_ptr(), copy.data_ptr(), *sizes, copy_threads(x.numel()))
    return copy


def _as_matrices(x: Tensor, step: int) -> tuple[int, ...] | None:
    """The arguments of `transpose` (count, rows, columns, from_row, to_row, from_next, to_next) that copy x."""
    batch = x.shape[0]
    features = x.numel() // batch
    if x.dim() == 2:
        return (1, batch, features, x.stride(0), step, 0, 0) if x.stride(1) == 1 else None
    if x.is_contiguous(memory_format=torch.channels_last):
        return 1, batch, features, features, step, 0, 0
    if x.is_contiguous():
        channels, pixels = x.shape[1], features // x.shape[1]
        return channels, batch, pixels, features, channels * step, pixels, step
    return None


COPY_SHARE = 2**15  # numbers per thread at least
WORK_SHARE = 2**17  # multiply-adds per thread at least


def _threads(work: int, share: int) -> int:
    return max(1, min(torch.get_num_threads(), work // share))


def copy_threads(work: int) -> int:
    """How many threads share a pass over this many numbers."""
    return _threads(work, COPY_SHARE)


def work_threads(work: int) -> int:
    """How many threads share this many multiply-adds."""
    return _threads(work, WORK_SHARE)


def pixels_of(shape: tuple[int, ...]) -> int:
    """height x width of images, 1 for features."""
    return shape[2] * shape[3] if len(shape) == 4 else 1


def pointer(x: Tensor | None) -> int | None:
    """Where a tensor's numbers are, for C code that takes NULL for none."""
    return None if x is None else x.data_ptr()
