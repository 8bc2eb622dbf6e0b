"""The kernels' layout of activations: the batch innermost.

A tensor keeps its usual shape, (batch, features) or (batch, channels, height, width), and lies in memory as (features,
batch) or (height, width, channels, batch). Elementwise operations keep this order, so that the next layer finds its
input in place; only a net's input and its logits are copied.
"""

import torch
from torch import Tensor

from lpss.native import loader


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialised tensor of this shape, (batch, features) or (batch, channels, height, width), in the layout."""
    return torch.empty_strided(shape, _strides(shape), dtype=like.dtype, device=like.device)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 2:
        return 1, shape[0]
    batch, channels, _, width = shape
    return 1, batch, width * channels * batch, channels * batch


def is_in_layout(x: Tensor) -> bool:
    """Whether x has 2 or 4 dims and lies batch innermost. Strides of sides of length 1 mean nothing."""
    if x.dim() not in (2, 4):
        return False
    return all(
        size == 1 or stride == wanted
        for size, stride, wanted in zip(x.shape, x.stride(), _strides(x.shape), strict=True)
    )


def to_layout(x: Tensor) -> Tensor:
    """x itself, or a copy in the layout; without history."""
    x = x.detach()
    if is_in_layout(x):
        return x
    copy = empty(tuple(x.shape), x)
    matrices = _as_matrices(x) if x.dtype == torch.float32 and x.is_cpu and x.numel() else None
    library = loader.library() if matrices else None
    if library is None:
        return copy.copy_(x)
    library.transpose(x.data_ptr(), copy.data_ptr(), *matrices, _threads(x.numel(), COPY_SHARE))
    return copy


def _as_matrices(x: Tensor) -> tuple[int, ...] | None:
    """The arguments of `transpose` (count, rows, columns, from_row, to_row, from_next, to_next) that copy x."""
    batch = x.shape[0]
    features = x.numel() // batch
    if x.dim() == 2:
        return (1, batch, features, x.stride(0), batch, 0, 0) if x.stride(1) == 1 else None
    if x.is_contiguous(memory_format=torch.channels_last):
        return 1, batch, features, features, batch, 0, 0
    if x.is_contiguous():
        channels, pixels = x.shape[1], features // x.shape[1]
        return channels, batch, pixels, features, channels * batch, pixels, batch
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
