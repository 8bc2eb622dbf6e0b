"""Where a layer's active weights are, in the orders in which the kernels pass them.

The active entries of a weight (neurons, channels, *kernel) are in the order neuron, tap (place in the kernel), channel;
the transposed order, for the gradient of the input, is channel, tap, neuron. A Linear weight has one tap.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lpss.active import NeuronRows
from lpss.errors import UsageError
from lpss.native import loader

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

    flat: (active,) int32, place of each in the flattened weight. rows: where neurons begin.

    Raises UsageError for weights that are too large to count.
    """

    def __init__(self, mask: Tensor):
        self.shape = tuple(mask.shape)
        if mask.numel() > LARGEST:
            raise UsageError(f"a weight of shape {self.shape} has more entries than the sparse kernels can count")
        self.neurons, self.channels, *kernel = self.shape
        self.kernel = tuple(kernel) or (1, 1)
        mask = mask.detach().cpu().bool().contiguous()
        find = _find if loader.library() is None else _find_by_kernel
        self._starts, self._channel, self._tap, self.flat = find(mask, self.kernel[0] * self.kernel[1])
        starts = self._starts[:: self.kernel[0] * self.kernel[1]].contiguous()
        self.rows = NeuronRows(starts, int(starts.diff().max()))
        self._turned: tuple[Tensor, Tensor, Tensor] | None = None
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
        x = x.detach().reshape(-1)
        if not _by_kernel(x):
            return x.index_select(0, self.flat.to(x.device))
        values = torch.empty(len(self))
        loader.library().gather(x.data_ptr(), self.flat.data_ptr(), values.data_ptr(), len(self))
        return values

    def expand(self, values: Tensor) -> Tensor:
        """A tensor of the weight's shape with these active entries, and zeros."""
        whole = torch.zeros(self.shape, dtype=values.dtype, device=values.device)
        values = values.detach()
        if _by_kernel(values):
            loader.library().scatter(values.data_ptr(), self.flat.data_ptr(), whole.data_ptr(), len(self))
        else:
            whole.view(-1).index_copy_(0, self.flat.to(values.device).long(), values)
        return whole

    @property
    def turned(self) -> tuple[Tensor, Tensor, Tensor]:
        """In the transposed order: where each channel and tap begin, where the entries are in the first order, and
        their neurons (int32)."""
        if self._turned is None:
            self._turned = (_turn if loader.library() is None else _turn_by_kernel)(self)
        return self._turned

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
        return Plan(self.neurons, self.channels, ahead, self._starts, offsets, written_pixels(g, self.channels))

    def _backward(self, g: Geometry) -> Plan:
        starts, order, neuron = self.turned
        if g == PIXEL:
            return _blockwise(self.channels, self.neurons, starts, neuron, order)
        tap = self._tap.index_select(0, order)
        up, left = tap // self.kernel[1] // g.stride[0], tap % self.kernel[1] // g.stride[1]
        offsets = (-up * g.output[1] - left) * self.neurons + neuron
        return Plan(self.channels, self.neurons, 0, starts, offsets, read_pixels(g, self.neurons), order)


def _by_kernel(x: Tensor) -> bool:
    return x.is_cpu and x.dtype == torch.float32 and x.is_contiguous() and loader.library() is not None


def _find_by_kernel(mask: Tensor, taps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where neurons and taps begin, and of each active entry its channel, tap and place in the mask (int32)."""
    neurons, channels = mask.shape[:2]
    starts = torch.empty(neurons * taps + 1, dtype=torch.int32)
    channel, tap, place = torch.empty(3, int(mask.count_nonzero()), dtype=torch.int32)
    arrays = (starts, channel, tap, place)
    loader.library().find_active(mask.data_ptr(), neurons, channels, taps, *(x.data_ptr() for x in arrays))
    return arrays


def _find(mask: Tensor, taps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `_find_by_kernel`."""
    neurons, channels = mask.shape[:2]
    by_tap = mask.reshape(neurons, channels, taps).transpose(1, 2)
    neuron, tap, channel = by_tap.nonzero(as_tuple=True)
    starts = torch.zeros(neurons * taps + 1, dtype=torch.int32)
    starts[1:] = by_tap.sum(2).flatten().cumsum(0)
    return starts, channel.int(), tap.int(), ((neuron * channels + channel) * taps + tap).int()


def _turn_by_kernel(pattern: Pattern) -> tuple[Tensor, Tensor, Tensor]:
    """See `Pattern.turned`."""
    taps = pattern.kernel[0] * pattern.kernel[1]
    starts = torch.empty(pattern.channels * taps + 1, dtype=torch.int32)
    order, neuron = torch.empty(2, len(pattern), dtype=torch.int32)
    given = (pattern._starts, pattern._channel, pattern._tap)
    sizes = (pattern.neurons, pattern.channels, taps)
    loader.library().transposed_order(
        *(x.data_ptr() for x in given), *sizes, *(x.data_ptr() for x in (starts, order, neuron))
    )
    return starts, order, neuron


def _turn(pattern: Pattern) -> tuple[Tensor, Tensor, Tensor]:
    """As `_turn_by_kernel`."""
    taps = pattern.kernel[0] * pattern.kernel[1]
    column = pattern._channel.long() * taps + pattern._tap
    starts = torch.zeros(pattern.channels * taps + 1, dtype=torch.int32)
    starts[1:] = torch.bincount(column, minlength=pattern.channels * taps).cumsum(0)
    order = torch.argsort(column, stable=True)  # neuron by neuron within a column
    neuron = torch.repeat_interleave(torch.arange(pattern.neurons), pattern.rows.starts.diff())
    return starts, order.int(), neuron[order].int()


def _blockwise(rows: int, channels: int, starts: Tensor, channel: Tensor, order: Tensor | None = None) -> Plan:
    """The plan of one pixel. Channels that do not stay near are read a block at a time."""
    blocks = -(-channels * LINE // NEAR)
    if blocks > 1:
        size = -(-channels // blocks)
        row = torch.repeat_interleave(torch.arange(rows), starts.diff())
        starts = torch.zeros(rows * blocks + 1, dtype=torch.int32)
        starts[1:] = torch.bincount(row * blocks + channel // size, minlength=rows * blocks).cumsum(0)
    return Plan(rows, channels, 0, starts, channel, _one_pixel(blocks), order)


@lru_cache
def _one_pixel(blocks: int) -> Pixels:
    zeros, numbers = np.zeros(blocks), np.arange(blocks)
    runs = np.stack((numbers, numbers + 1), 1)
    return Pixels(1, *map(_int32, (zeros, zeros, numbers, np.arange(blocks + 1), runs)), blocks=blocks > 1)


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
