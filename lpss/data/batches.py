"""Batches from tensors that stay on the device: no worker processes, and nothing waits for the device."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lpss.data.augment import AugmentConfig, crop, cutout, flip
from lpss.data.dataset import Split
from lpss.errors import UsageError

SHUFFLE_WHOLE = 64 * 2**20  # bytes up to which an epoch is shuffled at once, so that batches are views

Batch = tuple[Tensor, Tensor]


class Normalise:
    """uint8 images -> float32 (x/255 - mean)/std per channel; tables pass through untouched."""

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None, device: torch.device | str) -> None:
        if mean is not None:
            centre, spread = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std))
            self.scale, self.shift = 1 / (255 * spread), -centre / spread

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype != torch.uint8:
            return x
        return torch.addcmul(self.shift, x.float(), self.scale)


class Batches:
    """A training split in random batches, a new order each epoch, the last incomplete batch dropped.

    Order and augmentation are drawn on the CPU from (seed, epoch) alone, so they are the same on every device
    and an epoch can begin at any batch. Crop and flip act on the raw pixels (padding is black), cutout
    after normalising (0 is the mean). `shard` (i, n) yields the i-th of n equal parts of every batch.
    Raises UsageError for an impossible batch size or augmentation.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: AugmentConfig | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if not 1 <= batch_size <= len(split):
            raise UsageError(f"train.batch_size={batch_size}: must be 1 to {len(split)}, the training rows")
        self.augment = augment or AugmentConfig()
        self.augment.check(tuple(split.x.shape[1:]))
        self.split = split.to(device)
        self.batch_size = batch_size
        self.shard = shard
        self.seed = seed
        self.device = torch.device(device)
        self.normalise = Normalise(mean, std, device)
        self.whole = split.x.numel() * split.x.element_size() <= SHUFFLE_WHOLE

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.split) // self.batch_size

    def undivided(self) -> "Batches":
        """The same, whole batches to every process."""
        whole = copy.copy(self)
        whole.shard = (0, 1)
        return whole

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on: x float32 (B, ...), y int64 (B,)."""
        mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        draw = torch.Generator().manual_seed(int(mixed))
        order = torch.randperm(len(self.split), generator=draw)[: len(self) * self.batch_size].to(self.device)
        chance = self._chance(len(order), draw)
        rows = self.split.take(order) if self.whole else self.split
        index, shards = self.shard
        size = self.batch_size // shards
        parts = range(start * shards + index, len(self) * shards, shards)
        if self.whole and rows.x.dtype != torch.uint8:  # tables: a batch is a view, and the views are made at once
            xs, ys = rows.x.split(size), rows.y.split(size)
            yield from ((xs[i], ys[i]) for i in parts)
            return
        for i in parts:
            part = slice(i * size, (i + 1) * size)
            batch = Split(rows.x[part], rows.y[part]) if self.whole else rows.take(order[part])
            yield self._prepare(batch.x, chance[:, part]), batch.y

    def _chance(self, count: int, draw: torch.Generator) -> Tensor:
        """The random numbers of an epoch, int64 (5, count): crop's top and left, flip, cutout's row and column."""
        if not self.augment.active:
            return torch.empty(5, 0, dtype=torch.int64)
        height, width = self.split.x.shape[-2:]
        window = 2 * self.augment.crop_pad + 1
        limits = (window, window, 2, height, width)
        drawn = [torch.randint(limit, (count,), generator=draw) for limit in limits]
        return torch.stack(drawn).to(self.device)

    def _prepare(self, x: Tensor, chance: Tensor) -> Tensor:
        augment = self.augment
        if augment.crop_pad:
            x = crop(x, chance[0], chance[1], augment.crop_pad, augment.pad_mode)
        if augment.flip:
            x = flip(x, chance[2].bool())
        x = self.normalise(x)
        return cutout(x, chance[3], chance[4], augment.cutout) if augment.cutout else x


def eval_batches(
    split: Split,
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """All rows in order, only normalised; the last batch may be smaller.

    `shard` (i, n) yields every n-th batch, from number i on.
    """
    normalise = Normalise(mean, std, device)
    index, shards = shard
    for start in range(index * batch_size, len(split), shards * batch_size):
        part = slice(start, start + batch_size)
        yield normalise(split.x[part].to(device)), split.y[part].to(device)
