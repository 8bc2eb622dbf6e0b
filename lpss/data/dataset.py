"""A loaded data set: two splits of tensors, and what a model needs to know of them."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lpss.errors import DataError, UsageError


@dataclass(frozen=True)
class Split:
    """Inputs and labels: x float32 (N, F) for tables or uint8 (N, C, H, W) for images, y int64 (N,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.x.to(device), self.y.to(device))

    def take(self, index: Tensor) -> "Split":
        """The rows `index` (int64), in that order."""
        return Split(self.x.index_select(0, index), self.y.index_select(0, index))


@dataclass(frozen=True)
class Standardisation:
    """x -> (x - mean) / std, a number of each for every column of a table; 0 and 1 where a column stays as it is."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, train: Split, columns: slice) -> "Standardisation":
        """To mean 0 and deviation 1 over the training rows, in `columns`."""
        mean, std = torch.zeros(train.x.shape[1:], dtype=torch.float64), torch.ones(train.x.shape[1:]).double()
        known = train.x[:, columns].double()
        mean[columns], spread = known.mean(0), known.std(0, unbiased=False)
        std[columns] = torch.where(spread > 0, spread, 1.0)  # a constant column becomes 0, not NaN
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def __call__(self, split: Split) -> Split:
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.mean, self.std))
        return Split(((split.x.double() - mean) / std).float(), split.y)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split.

    mean, std: of images, per channel in units of 0..1; batches are normalised with them. None for tables.
    standardisation: of tables, what their columns went through on being loaded.
    class_names: of the labels 0, 1, ..., where the data set has names for them.
    """

    name: str
    train: Split
    test: Split
    classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    standardisation: Standardisation | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(F,) for a table, (C, H, W) for images."""
        return tuple(self.train.x.shape[1:])


@dataclass
class DatasetConfig:
    """The options of `dataset=`; a source subclasses it to offer more."""

    name: str
    augment: dict = field(default_factory=dict)
    model: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What a source must yield: rows of `shape`, labels below `classes`, `train` + `test` rows."""

    shape: tuple[int, ...]
    classes: int
    train: int
    test: int


def validate(name: str, where: str, x: Tensor, y: Tensor, expected: Expected, remedy: str = "") -> None:
    """Check all rows of a set, training rows first. Raises DataError that names the place, `where`, and the remedy."""

    def refuse(problem: str) -> None:
        raise DataError(f"{name}: {where}: {problem}{remedy and f'; {remedy}'}")

    for part, value, kinds in (("rows", x, (torch.float32, torch.uint8)), ("labels", y, (torch.int64,))):
        if not isinstance(value, Tensor) or value.dtype not in kinds:
            found = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            refuse(f"{part} are {found} where one of {' or '.join(map(str, kinds))} is expected")
    if expected.train < 1 or expected.test < 1:
        refuse(f"{expected.train} training and {expected.test} test rows: at least one of each is needed")
    rows = expected.train + expected.test
    if x.dim() < 1 or len(x) != rows or tuple(y.shape) != (rows,):
        labels = f"labels of shape {tuple(y.shape)}" if y.dim() != 1 else f"{len(y)} labels"
        refuse(f"{len(x) if x.dim() else 'no'} rows with {labels} where {rows} are expected (training and test)")
    if tuple(x.shape[1:]) != tuple(expected.shape):
        refuse(f"rows of shape {tuple(x.shape[1:])} where {tuple(expected.shape)} is expected")
    if x.is_floating_point() and not (finite := torch.isfinite(x.flatten(1))).all():
        row, column = (~finite).nonzero()[0].tolist()
        refuse(f"row {row + 1} holds NaN or infinity (value {column + 1} of {finite.shape[1]})")
    if y.min() < 0 or y.max() >= expected.classes:
        row = int(((y < 0) | (y >= expected.classes)).nonzero()[0])
        refuse(
            f"labels from {int(y.min())} to {int(y.max())} where 0 to {expected.classes - 1} are expected "
            f"(first in row {row + 1})"
        )


def check_classes(dataset: Dataset) -> Dataset:
    """The data set itself, if every class occurs in its training split, and its names are as many as its classes.

    Raises DataError otherwise.
    """
    if dataset.class_names is not None and len(dataset.class_names) != dataset.classes:
        raise DataError(f"{dataset.name}: {len(dataset.class_names)} class_names for {dataset.classes} classes")
    counts = torch.bincount(dataset.train.y, minlength=dataset.classes)
    if not counts.all():
        empty = ", ".join(str(c) for c in (counts == 0).nonzero().flatten().tolist())
        raise DataError(f"{dataset.name}: no training row of class {empty} of {dataset.classes}")
    return dataset


def permutation(count: int, seed: int) -> np.ndarray:
    """A random order of `count` rows. RandomState's stream never changes: a seed gives the same split for ever."""
    return np.random.RandomState(seed).permutation(count)


def hold_out(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Replace the test split, which is dropped, by a part of the training rows, drawn class by class.

    Both parts keep the training order; a class with two rows or more is in both. Standardisation stays
    that of the whole training split. Raises UsageError unless 0 < fraction < 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"train.validation={fraction}: the held-out fraction must lie between 0 and 1")
    y = dataset.train.y.numpy()
    held = np.zeros(len(y), dtype=bool)
    shuffled = permutation(len(y), seed)
    for label in range(dataset.classes):
        rows = shuffled[y[shuffled] == label]
        held[rows[: min(len(rows) - 1, max(1, round(fraction * len(rows))))]] = True
    parts = (torch.from_numpy(np.flatnonzero(mask)) for mask in (~held, held))
    train, validation = (dataset.train.take(part) for part in parts)
    return replace(dataset, train=train, test=validation)
