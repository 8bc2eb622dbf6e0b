"""Data of one's own: where it is, which of its rows test, what its labels are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lpss.data.dataset import DatasetConfig
from lpss.data.sources import DataSource, Status
from lpss.data.splits import checked_seed, held_out
from lpss.errors import DataError, UsageError

SHOWN = 5  # classes whose sizes are printed


@dataclass
class OwnConfig(DatasetConfig):
    """`path`: a file or folder; `title`: what tables and folders call it, its name where none is given.

    Rows that test are those of `test_path`, else a share `test`, drawn by `split_seed`, of each class (`stratify`) or
    of all rows.
    """

    path: str | None = None
    title: str = ""
    test_path: str | None = None
    test: float = 0.2
    split_seed: int = 0
    stratify: bool = True

    def __post_init__(self):
        self.title = self.title or Path(self.path or "").name


class OwnData(DataSource):
    """Files that a config names: nothing is downloaded, and what they hold is found out."""

    licence = "your own"
    origin = "dataset.path"

    def status(self, root: Path) -> Status:
        return Status("your own")

    def fetch(self, root: Path) -> None:
        """There is nothing to fetch."""


def find(key: str, path: str | None, remedy: str = "") -> Path:
    """The file or folder that `dataset.<key>` names. Raises UsageError where there is none."""
    if not path:
        raise UsageError(f"dataset.{key} is missing: say dataset.{key}=...{remedy}")
    found = Path(path).expanduser()
    if not found.exists():
        raise UsageError(f"dataset.{key}={path}: there is no such file or folder")
    return found


def draw(config: OwnConfig, strata: Sequence[Any]) -> np.ndarray:
    """bool (N,): which rows test, the same share of each stratum; a value of its own for each, or one for all.

    Raises UsageError for a share that is none.
    """
    if not 0 < config.test < 1:
        raise UsageError(f"dataset.test={config.test}: the share of rows that test must lie between 0 and 1")
    codes, _ = pd.factorize(pd.Series(strata), use_na_sentinel=False)
    held = held_out(codes, config.test, checked_seed("split_seed", config.split_seed))
    if not held.any():
        raise UsageError(f"dataset.test={config.test}: no stratum has two rows, so none is left to test")
    return held


def draw_by_class(config: OwnConfig, labels: pd.Series) -> np.ndarray:
    """`draw` of each class, or, where `config.stratify` is false, of all rows."""
    return draw(config, labels if config.stratify else np.zeros(len(labels)))


def drawn_from(config: OwnConfig, whole: str) -> str:
    """Of what the share is taken, for `split_facts`: each class, each value of a column, or the `whole`."""
    if config.stratify is True:
        return "each class"
    return f"each value of {config.stratify}" if config.stratify else whole


@dataclass(frozen=True)
class Classes:
    """The labels that training rows have, in order: numbers by size, texts alphabetically."""

    names: tuple[str, ...]
    counts: Mapping[str, int]  # of training rows

    @classmethod
    def of(cls, labels: Sequence[str], source: str) -> "Classes":
        """Of the training rows' labels. Raises DataError where they are fewer than two."""
        counts = pd.Series(labels, dtype="object").value_counts()
        names = list(counts.index)
        numbers = pd.to_numeric(pd.Series(names), errors="coerce")
        names.sort(key=float if numbers.notna().all() else str)
        if len(names) < 2:
            raise DataError(f"{source}: all training rows have the label {names[0]!r}; at least two classes are needed")
        return cls(tuple(names), {name: int(counts[name]) for name in names})

    def codes(self, labels: pd.Series, source: str) -> Tensor:
        """int64 (N,). Raises DataError for a label that no training row has; rows count from the labels' index."""
        codes = pd.Index(self.names).get_indexer(pd.Index(labels))
        if (codes < 0).any():
            row = labels.index[(codes < 0).argmax()]
            raise DataError(f"{source}: row {row + 1}: no training row has the label {labels[row]!r}")
        return torch.from_numpy(codes.astype(np.int64))

    def __str__(self) -> str:
        shown = [f"{name} {self.counts[name]:,}" for name in self.names[:SHOWN]]
        return f"{len(self.names)} classes ({', '.join(shown)}{', ...' if len(self.names) > SHOWN else ''})"


def split_facts(config: OwnConfig, train: int, test: int, source: str, test_part: Path | None = None) -> dict[str, Any]:
    """What a run's data.json says of the rows. source: of what the share is taken that tests (`drawn_from`), unless
    there is a `test_part`, a folder, or a `test_path`, all of which tests."""
    whole = test_part or config.test_path
    split = f"a share of {config.test:g} of {source}, drawn with seed {config.split_seed}"
    return {
        "path": config.path,
        "rows": {"train": train, "test": test},
        "split": f"all of {whole}" if whole else split,
    }


def split_note(config: OwnConfig, kind: str, classes: Classes, facts: Mapping[str, Any]) -> str:
    """The same in a line. kind: what there are so many of."""
    rows = facts["rows"]
    test = f"{rows['test']:,} test {kind} ({facts['split']})"
    return f"{config.title}: {rows['train']:,} training {kind} of {classes}; {test}"
