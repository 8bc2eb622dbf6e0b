"""A loaded data set: two splits of tensors, and what a model needs to know of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lpss.data.columns import Recipe
from lpss.errors import DataError


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
    recipe: of tables of one's own, from their rows to inputs.
    facts, notes: of data of one's own, what was found out or decided: for a file, and in lines to print.
    """

    name: str
    train: Split
    test: Split
    classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    standardisation: Standardisation | None = None
    class_names: tuple[str, ...] | None = None
    recipe: Recipe | None = None
    facts: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

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
