"""Columns of a table of one's own -> features: what each column is, found in the training rows and kept as data."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api import types
from torch import Tensor

from lpss.errors import DataError, UsageError, suggestion

MISSING = ("", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>")
MISTAKEN = 0.9  # of a column's cells are numbers: then the others are mistakes, else the column is one of texts
FEW = 20  # different texts, which a column of texts may have however few rows there are
LARGEST = 1e100  # numbers whose squares can be summed
NUMBER, CATEGORY = "number", "category"


@dataclass(frozen=True)
class Reading:
    """How cells are read. missing: texts that stand for no value; decimal: the sign before decimals."""

    missing: tuple[str, ...] = MISSING
    decimal: str = "."

    def cells(self, column: pd.Series) -> pd.Series:
        """float64 of a column of numbers or times (in seconds), text without outer blanks of any other.

        NaN where there is no value.
        """
        if types.is_datetime64_any_dtype(column):
            column = column - pd.Timestamp(0, tz=column.dt.tz)
        if types.is_timedelta64_dtype(column):
            return column.dt.total_seconds()
        if types.is_numeric_dtype(column) and not types.is_bool_dtype(column):
            return column.astype("float64")
        texts = column.astype("object").map(_text, na_action="ignore")
        return texts.where(~texts.isin(self.missing)).astype("object")

    def numbers(self, cells: pd.Series) -> pd.Series:
        """float64: what `cells` has given as numbers, NaN where a cell is none."""
        if cells.dtype != object:
            return cells
        texts = cells if self.decimal == "." else cells.str.replace(self.decimal, ".", regex=False)
        return pd.to_numeric(texts, errors="coerce").astype("float64")


def _text(cell: Any) -> str:
    return str(cell).strip()


def texts(cells: pd.Series) -> pd.Series:
    """What `Reading.cells` gives as text, whole numbers without a point; NaN stays."""
    if cells.dtype == object:
        return cells
    return cells.astype("object").map(
        lambda value: f"{value:.0f}" if value.is_integer() else str(value), na_action="ignore"
    )


def as_table(x: np.ndarray) -> pd.DataFrame:
    """Rows of numbers (N, F) with columns 0, 1, ..."""
    return pd.DataFrame(x, columns=[str(column) for column in range(x.shape[1])])


def plain_numbers(rows: pd.DataFrame, source: str) -> np.ndarray:
    """float64 (N, columns). Raises DataError for a cell that is no number."""
    reading = Reading(missing=())
    columns = [_checked_numbers(reading.cells(rows[name]), reading, source) for name in rows.columns]
    for column in columns:
        refuse(source, column, column.isna(), "is no number")
    return np.stack([column.to_numpy() for column in columns], 1)


def refuse(source: str, cells: pd.Series, wrong: pd.Series, problem: str) -> None:
    """Raise DataError for the first cell where `wrong` is true, if there is one. Rows count from 1."""
    if wrong.any():
        row = wrong.index[wrong.to_numpy().argmax()]
        cell = "" if pd.isna(cells[row]) else cells[row]
        raise DataError(f"{source}: row {row + 1}, column {cells.name}: {cell!r} {problem}")


@dataclass(frozen=True)
class Column:
    """One column, and what its features are.

    kind: "number" is one feature, standardised; "category" one a level, which is 1 where the cell is that level.
    levels: of a category. median: of a number, in place of missing cells; mean, std: its training rows', then.
    indicator: whether one more feature is 1 where the cell is missing: it is in a training row.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    median: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    indicator: bool = False

    @property
    def features(self) -> list[str]:
        """Their names."""
        own = [self.name] if self.kind == NUMBER else [f"{self.name}={level}" for level in self.levels]
        return own + [f"{self.name} is missing"] * self.indicator

    def encode(self, cells: pd.Series, reading: Reading, source: str) -> np.ndarray:
        """float32 (N, features). A missing cell is the median or no level, an unknown level is none.

        Raises DataError for a cell that is no number where one is expected.
        """
        missing = cells.isna().to_numpy()
        if self.kind == NUMBER:
            known = _checked_numbers(cells, reading, source)
            scaled = (known.fillna(self.median) - self.mean) / self.std
            refuse(source, cells, scaled.abs() > np.finfo(np.float32).max, "is too far from those trained with")
            own = scaled.to_numpy()[:, None]
        else:
            place = pd.Index(self.levels).get_indexer(pd.Index(texts(cells)))
            own = place[:, None] == np.arange(len(self.levels))
        return np.concatenate([own, missing[:, None]] if self.indicator else [own], 1).astype(np.float32)

    def unknown(self, cells: pd.Series) -> int:
        """How many cells hold a level that is none of a category's."""
        return int((cells.notna() & ~texts(cells).isin(self.levels)).sum())


def _checked_numbers(cells: pd.Series, reading: Reading, source: str) -> pd.Series:
    known = reading.numbers(cells)
    refuse(source, cells, known.isna() & cells.notna(), "is no number")
    refuse(source, cells, known.abs() > LARGEST, "is no finite number")
    return known


@dataclass(frozen=True)
class Recipe:
    """From rows of a table to a net's features.

    target: the column of labels, which new rows may lack; left_out: column -> why it is no input; reading: of cells;
    text: of text files, how to find the cells (lpss/data/csv_table.py).
    """

    columns: tuple[Column, ...]
    target: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    reading: Reading = Reading()
    text: Mapping[str, Any] = field(default_factory=dict)

    @property
    def features(self) -> list[str]:
        return [feature for column in self.columns for feature in column.features]

    def encode(self, rows: pd.DataFrame, source: str = "the rows") -> Tensor:
        """float32 (N, features). Raises DataError where a column is missing, or a cell is no number that should be."""
        names = [column.name for column in self.columns]
        if absent := [name for name in names if name not in rows.columns]:
            near = suggestion(absent[0], map(str, rows.columns))
            raise DataError(f"{source}: there is no column {', '.join(absent)}{near}")
        parts = [column.encode(self.cells(rows, column), self.reading, source) for column in self.columns]
        return torch.from_numpy(np.concatenate(parts, 1))

    def cells(self, rows: pd.DataFrame, column: Column) -> pd.Series:
        return self.reading.cells(rows[column.name])

    def labels(self, rows: pd.DataFrame) -> pd.Series:
        """The target's cells as text, NaN where there is none."""
        return texts(self.reading.cells(rows[self.target]))

    def unknown(self, rows: pd.DataFrame) -> dict[str, int]:
        """Column -> how many cells hold a level that no training row had; encoded as none of the levels."""
        categories = [column for column in self.columns if column.kind == CATEGORY]
        counts = {column.name: column.unknown(self.cells(rows, column)) for column in categories}
        return {name: count for name, count in counts.items() if count}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Of `to_dict`, also by way of JSON. Raises LookupError, TypeError or ValueError for others."""
        columns = tuple(Column(**{**one, "levels": tuple(one["levels"])}) for one in values["columns"])
        reading = Reading(tuple(values["reading"]["missing"]), values["reading"]["decimal"])
        return cls(columns, values["target"], dict(values["left_out"]), reading, dict(values["text"]))


@dataclass(frozen=True)
class Wishes:
    """What columns are to be taken for, whatever is in them, and how many levels a category has at most."""

    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()
    drop: Sequence[str] = ()
    max_levels: int = 64

    def check(self, names: Iterable[str]) -> None:
        """Raises UsageError for a column that is not in the table, or wished to be two things."""
        known = list(map(str, names))
        seen: dict[str, str] = {}
        for key in ("numeric", "categorical", "drop"):
            for name in getattr(self, key):
                if name not in known:
                    raise UsageError(f"dataset.{key}: there is no column {name!r}{suggestion(name, known)}")
                if name in seen:
                    raise UsageError(f"dataset.{key}: column {name!r} is in dataset.{seen[name]}, too")
                seen[name] = key


def fit(train: pd.DataFrame, target: str, wishes: Wishes, reading: Reading, source: str) -> Recipe:
    """What the columns of the training rows are, but for `target`. Raises DataError, UsageError."""
    wishes.check(name for name in train.columns if name != target)
    columns, left_out = [], {name: "as asked" for name in wishes.drop}
    for name in train.columns:
        if name == target or name in left_out:
            continue
        cells = reading.cells(train[name])
        wished = name in wishes.categorical or name in wishes.numeric
        if reason := _useless(cells) or (not wished and _unique_texts(cells, reading)):
            left_out[name] = reason
        elif _kind(cells, wishes, reading, source) == NUMBER:
            columns.append(_number(cells, reading, source))
        else:
            columns.append(_category(cells, wishes.max_levels))
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DataError(f"{source}: no column is left to learn from{reasons and f' ({reasons})'}")
    return Recipe(tuple(columns), target, left_out, reading)


def _useless(cells: pd.Series) -> str:
    """Why a column says nothing of the rows, "" where it may."""
    if cells.isna().all():
        return "empty"
    return "the same in all rows" if cells.nunique(dropna=False) == 1 else ""


def _unique_texts(cells: pd.Series, reading: Reading) -> str:
    """Says so where most rows have a text of their own: names, remarks, dates."""
    known = cells.dropna()
    if known.dtype != object or known.nunique() <= max(FEW, len(known) / 2):
        return ""
    return "" if reading.numbers(known).notna().mean() >= MISTAKEN else "a text of its own for most rows"


def _kind(cells: pd.Series, wishes: Wishes, reading: Reading, source: str) -> str:
    if cells.name in wishes.categorical:
        return CATEGORY
    if cells.name in wishes.numeric or cells.dtype != object:
        return NUMBER
    known = cells.dropna()
    numeric = reading.numbers(known).notna()
    if numeric.mean() >= MISTAKEN and not numeric.all():
        remedy = "correct it, or list it in dataset.missing, or the column in dataset.categorical"
        refuse(source, known, ~numeric, f"is no number, as {numeric.mean():.1%} of the column's cells are; {remedy}")
    return NUMBER if numeric.all() else CATEGORY


def _number(cells: pd.Series, reading: Reading, source: str) -> Column:
    known = _checked_numbers(cells, reading, source)
    median = float(known.median())
    filled = known.fillna(median)
    std = float(filled.std(ddof=0))
    missing = bool(known.isna().any())
    return Column(cells.name, NUMBER, median=median, mean=float(filled.mean()), std=std or 1.0, indicator=missing)


def _category(cells: pd.Series, max_levels: int) -> Column:
    """The most frequent levels, in alphabetical order."""
    counts = texts(cells).value_counts()  # NaN is not counted
    frequent = sorted(counts.index, key=lambda level: (-counts[level], level))[:max_levels]
    return Column(cells.name, CATEGORY, levels=tuple(sorted(frequent)), indicator=bool(cells.isna().any()))
