"""Where a layer's active weights are, in the orders in which the kernels pass them.

The active entries of a weight (neurons, channels, *kernel) are in the order neuron, tap (place in the kernel), channel;
the transposed order, for the gradient of the input, is channel, tap, neuron. A Linear weight has one tap.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from lpss.active import NeuronRows
from lpss.errors import UsageError

NEAR = 2**19  # bytes of what is read that should stay in the processor's second cache
LINE = 512  # bytes of a channel and pixel, of the part of a batch that is computed at once
LARGEST = 2**31 - 1  # what the kernels' indices can count to
PLANS = 16  # of a layer that are kept, for images of so many sizes


@dataclass(frozen=True)
class Geometry:
    """Images that a conv layer reads, and its steps over them. As it stands, a Linear layer's one pixel."""

    height: int = 1
    width: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def output(self) -> tuple[int, int]:
        """(height, width) of what the layer writes."""
        sides = zip((self.height, self.width), self.kernel, self.stride, self.padding, strict=True)
        return tuple((side + 2 * pad - size) // step + 1 for side, size, step, pad in sides)


PIXEL = Geometry()


class _Plan(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64) for name in ("rows", "taps", "pixels", "channels", "positions", "ahead", "blocks")
    ] + [
        (name, ctypes.c_void_p)
        for name in ("starts", "offsets", "order", "base", "place", "class", "first_run", "runs")
    ]


class Plan:
    """What one product is given, as sparse.c has it: `pointer` to its struct, which lives as long as this."""

    def __init__(
        self,
        rows: int,
        channels: int,
        ahead: int,
        starts: Tensor,
        offsets: Tensor,
        pixels: "Pixels",
        order: Tensor | None = None,
    ):
        self.rows, self.channels, self.pixels = rows, channels, len(pixels.base)
        self.work = len(offsets) * (1 if pixels.blocks else self.pixels)  # multiply-adds for one entry of the batch
        positions = pixels.read * channels
        arrays = (
            starts,
            offsets,
            order,
            pixels.base * channels,
            pixels.place,
            pixels.kind,
            pixels.first_run,
            pixels.runs,
        )
        self._arrays = arrays  # kept alive
        taps = (len(starts) - 1) // rows
        numbers = (rows, taps, self.pixels, channels, positions, ahead * channels, pixels.blocks)
        self._struct = _Plan(*numbers, *(None if x is None else x.data_ptr() for x in arrays))
        self.pointer = ctypes.byref(self._struct)


@dataclass(frozen=True)
class Pixels:
    """The pixels that a product writes, in the order of writing (int32 tensors).

    read: number of pixels it reads. base: the one that tap (0, 0) reads, which may lie outside. place: the one that is
    written. kind: pixels of a kind have the same taps inside the image, those of `runs` (first, last + 1) from
    `first_run[kind]` on.
    """

    read: int
    base: Tensor
    place: Tensor
    kind: Tensor
    first_run: Tensor
    runs: Tensor
    blocks: bool = False  # whether a pixel is written again and again, by one block of channels after the other


class Pattern:
    """The places of a layer's active weights.

    Args:
        mask: bool, neurons first: (neurons, inputs) or (neurons, channels, height, width).

    flat: (active,) int32, place of each in the flattened weight. rows: where neurons begin. order: the active entries
    in the transposed order.

    Raises UsageError for weights that are too large to count.
    """

    def __init__(self, mask: Tensor):
        self.shape = tuple(mask.shape)
        if mask.numel() > LARGEST:
            raise UsageError(f"a weight of shape {self.shape} has more entries than the sparse kernels can count")
        neurons, channels, *kernel = self.shape
        self.neurons, self.channels, self.kernel = neurons, channels, tuple(kernel) or (1, 1)
        taps = self.kernel[0] * self.kernel[1]
        by_tap = mask.detach().cpu().bool().reshape(neurons, channels, taps).transpose(1, 2).reshape(neurons, -1)
        by_tap = by_tap.contiguous().numpy()
        neuron, place = np.nonzero(by_tap)
        self._tap, self._channel = np.divmod(place, channels)
        counts = np.add.reduceat(by_tap, np.arange(0, taps * channels, channels), axis=1, dtype=np.int32)
        self._starts = _starts(counts)
        starts = _starts(counts.sum(1))
        self.rows = NeuronRows(torch.from_numpy(starts), int(counts.sum(1).max()))
        self.flat = _int32((neuron * channels + self._channel) * taps + self._tap)
        # SciPy's conversion is a counting sort.
        column = self._channel * taps + self._tap
        shape = (neurons, channels * taps)
        turned = scipy.sparse.csr_array((np.arange(len(place)), column, starts), shape=shape).tocsc()
        self.order = _int32(turned.data)
        self._turned_starts, self._turned_neuron = turned.indptr.astype(np.int32), turned.indices
        self._plans: dict[Geometry, tuple[Plan, Plan]] = {}

    def __reduce__(self):
        return Pattern, (self.mask(),)

    def __len__(self) -> int:
        return len(self.flat)

    @property
    def density(self) -> float:
        """Active entries / entries."""
        return len(self) / int(np.prod(self.shape))

    def mask(self) -> Tensor:
        """The mask it was made of."""
        return self.expand(torch.ones(len(self), dtype=torch.bool))

    def gather(self, x: Tensor) -> Tensor:
        """The active entries of a tensor of the weight's shape, (active,)."""
        return x.detach().reshape(-1).index_select(0, self.flat.to(x.device))

    def expand(self, values: Tensor) -> Tensor:
        """A tensor of the weight's shape with these active entries, and zeros."""
        whole = torch.zeros(self.shape, dtype=values.dtype, device=values.device)
        whole.view(-1).index_copy_(0, self.flat.to(values.device).long(), values.detach())
        return whole

    def plans(self, geometry: Geometry) -> tuple[Plan, Plan]:
        """For y from x (and the weights' gradient from both), and for the gradient of x from that of y."""
        if geometry not in self._plans:
            if len(self._plans) == PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[geometry] = (self._forward(geometry), self._backward(geometry))
        return self._plans[geometry]

    def _forward(self, g: Geometry) -> Plan:
        if g == PIXEL:
            return _blockwise(self.neurons, self.channels, self._starts, self._channel)
        width = self.kernel[1]
        offsets = (self._tap // width * g.width + self._tap % width) * self.channels + self._channel
        ahead = (g.kernel[0] - 1) * g.width + g.kernel[1] - 1
        starts = torch.from_numpy(self._starts)
        return Plan(self.neurons, self.channels, ahead, starts, _int32(offsets), written_pixels(g, self.channels))

    def _backward(self, g: Geometry) -> Plan:
        if g == PIXEL:
            return _blockwise(self.channels, self.neurons, self._turned_starts, self._turned_neuron, self.order)
        tap = self._tap[self.order.numpy()]
        up, left = tap // self.kernel[1] // g.stride[0], tap % self.kernel[1] // g.stride[1]
        offsets = (-up * g.output[1] - left) * self.neurons + self._turned_neuron
        starts = torch.from_numpy(self._turned_starts)
        return Plan(self.channels, self.neurons, 0, starts, _int32(offsets), read_pixels(g, self.neurons), self.order)


def _blockwise(rows: int, channels: int, starts: np.ndarray, channel: np.ndarray, order: Tensor | None = None) -> Plan:
    """The plan of one pixel. Channels that do not stay near are read a block at a time."""
    blocks = -(-channels * LINE // NEAR)
    size = -(-channels // blocks)
    block = np.repeat(np.arange(rows), np.diff(starts)) * blocks + channel // size
    starts = _starts(np.bincount(block, minlength=rows * blocks))
    zeros, numbers = np.zeros(blocks), np.arange(blocks)
    runs = np.stack((numbers, numbers + 1), 1)
    pixels = Pixels(1, *map(_int32, (zeros, zeros, numbers, np.arange(blocks + 1), runs)), blocks=blocks > 1)
    return Plan(rows, channels, 0, torch.from_numpy(starts), _int32(channel), pixels, order)


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _int32(x) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.int32))


@lru_cache(maxsize=256)
def written_pixels(g: Geometry, channels: int) -> Pixels:
    """The pixels that a layer writes; it reads those of its input."""
    bases, inside = [], []
    for side, written, size, step, pad in zip(
        (g.height, g.width), g.output, g.kernel, g.stride, g.padding, strict=True
    ):
        base = np.arange(written) * step - pad
        bases.append(base)
        inside.append([tuple(tap for tap in range(size) if 0 <= at + tap < side) for at in base])
    base = bases[0][:, None] * g.width + bases[1]
    return _pixels(base, inside, g.kernel[1], g.height * g.width, _strip(g, channels * g.stride[1]))


@lru_cache(maxsize=256)
def read_pixels(g: Geometry, channels: int) -> Pixels:
    """The pixels that a layer reads, of which the gradient is written; it reads the gradient of the layer's output."""
    bases, inside = [], []
    for side, written, size, step, pad in zip(
        (g.height, g.width), g.output, g.kernel, g.stride, g.padding, strict=True
    ):
        at = np.arange(side) + pad
        bases.append(at // step)
        inside.append(
            [
                tuple(tap for tap in range(size) if (i - tap) % step == 0 and 0 <= (i - tap) // step < written)
                for i in at
            ]
        )
    base = bases[0][:, None] * g.output[1] + bases[1]
    return _pixels(base, inside, g.kernel[1], g.output[0] * g.output[1], _strip(g, channels))


def _strip(g: Geometry, channels: int) -> int:
    """How many pixels of a row to write before the next row, so that what is read for both is still near."""
    return max(4, NEAR // (g.kernel[0] * channels * LINE) - g.kernel[1] + 1)


def _pixels(base: np.ndarray, inside: list[list[tuple]], kernel_width: int, read: int, strip: int) -> Pixels:
    """Args: base (height, width); inside: by row and by column, the taps that are inside the image."""
    kinds: dict[tuple, int] = {}
    kind = [[kinds.setdefault((rows, columns), len(kinds)) for columns in inside[1]] for rows in inside[0]]
    first_run, runs = [0], []
    for rows, columns in kinds:
        taps = [row * kernel_width + column for row in rows for column in columns]
        for tap in taps:
            if len(runs) > first_run[-1] and runs[-1][1] == tap:
                runs[-1][1] = tap + 1
            else:
                runs.append([tap, tap + 1])
        first_run.append(len(runs))
    numbers = np.arange(base.size).reshape(base.shape)
    order = np.concatenate([numbers[:, at : at + strip].ravel() for at in range(0, base.shape[1], strip)])
    return Pixels(
        read,
        _int32(base.ravel()[order]),
        _int32(order),
        _int32(np.array(kind).ravel()[order]),
        _int32(first_run),
        _int32(np.array(runs or [[0, 0]])),
    )
