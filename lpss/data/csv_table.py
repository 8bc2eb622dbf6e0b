"""A csv file of one's own, or another text file with a line a row."""

import bz2
import csv
import gzip
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from lpss.data.columns import Reading
from lpss.data.own_table import OwnTable, OwnTableConfig
from lpss.errors import DataError, UsageError, reason
from lpss.registries import DATASETS

SEPARATORS = ",;\t|"


@dataclass
class CsvConfig(OwnTableConfig):
    """`separator`: between cells, null for that of , ; tab | which the first line has most; `decimal`: the sign before
    decimals; `header`: whether the first line names the columns, which are 0, 1, ... else."""

    separator: str | None = None
    decimal: str = "."
    encoding: str = "utf-8-sig"
    header: bool = True

    @property
    def reading(self) -> Reading:
        return Reading(tuple(self.missing), self.decimal)

    @property
    def text(self) -> dict[str, Any]:
        return {"separator": self.separator, "encoding": self.encoding, "header": self.header}


@DATASETS.register("csv")
class CsvTable(OwnTable):
    """A csv file of your own: dataset.path=FILE dataset.target=COLUMN."""

    label = "CSV"
    order = 14
    Config = CsvConfig

    def read(self, path: Path, config: CsvConfig) -> pd.DataFrame:
        return read_csv(path, **config.text)


def read_csv(
    path: Path, separator: str | None = None, encoding: str = "utf-8-sig", header: bool = True
) -> pd.DataFrame:
    """The rows as text, numbered from 0; options as in `CsvConfig`.

    Raises DataError that names the row, UsageError for options that are wrong.
    """
    if separator is not None and len(separator) != 1:
        raise UsageError(f"dataset.separator={separator!r}: must be one character, or null")
    try:
        separator = separator or _separator(path, encoding)
        names = _check_rows(path, separator, encoding, header)
        table = pd.read_csv(
            path,
            sep=separator,
            names=names,
            header=0 if header else None,
            dtype=str,
            keep_default_na=False,
            encoding=encoding,
            skipinitialspace=True,
        )
    except LookupError:
        raise UsageError(f"dataset.encoding={encoding}: there is no such encoding") from None
    except UnicodeDecodeError as error:
        remedy = "say dataset.encoding=latin-1, or whatever it is in"
        raise DataError(f"{path}: byte {error.start} is not {encoding}; {remedy}") from None
    except (csv.Error, pd.errors.ParserError, OSError, ValueError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None
    return table


def _open(path: Path, encoding: str) -> TextIO:
    """The file as text, unpacked by its suffix."""
    opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix.lower(), open)
    return opener(path, "rt", encoding=encoding, newline="")


def _separator(path: Path, encoding: str) -> str:
    """The most frequent separator in the first line, outside quotes."""
    with _open(path, encoding) as file:
        bare = "".join(file.readline().split('"')[::2])
    return max(SEPARATORS, key=bare.count)


def _check_rows(path: Path, separator: str, encoding: str, header: bool) -> list[str]:
    """The names of the columns, where all rows have as many cells as the first: pandas fills up those that are short.

    Raises DataError.
    """
    with _open(path, encoding) as file:
        reader = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
        rows = ((reader.line_num, row) for row in reader if row)
        _, first = next(rows, (0, None))
        if first is None:
            raise DataError(f"{path} is empty")
        count = 0 if header else 1
        for count, (line, row) in enumerate(rows, count + 1):  # noqa: B020 (the count goes on)
            if len(row) != len(first):
                cells = f"{len(row)} columns where the first line has {len(first)}"
                raise DataError(f"{path}, line {line} (row {count}): {cells}")
    if not count:
        raise DataError(f"{path} holds no rows")
    names = [name.strip() for name in first] if header else [str(column) for column in range(len(first))]
    _check_names(path, names)
    return names


def _check_names(path: Path, names: list[str]) -> None:
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{path}: column {number} has no name (a file without names: dataset.header=false)")
        if name in names[: number - 1]:
            raise DataError(f"{path}: column {number} is called {name!r}, as column {names.index(name) + 1} is")
