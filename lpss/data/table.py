"""Text tables turned into tensors, with errors that name file, line and column."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpss.errors import DataError

LONGEST = 100  # characters in a cell: numpy makes all cells as wide as the widest


@dataclass(frozen=True)
class Table:
    """The cells (N, columns) of a text file, stripped, and the line number each row came from."""

    path: Path
    cells: np.ndarray
    lines: np.ndarray

    @classmethod
    def read(
        cls,
        path: Path,
        columns: int,
        separator: str | None = ",",
        skip: Callable[[int, str], bool] = lambda number, line: False,
    ) -> "Table":
        """The rows of a file, without empty lines and those for which `skip(number, line)` is true.

        A `separator` of None splits at white space. Raises DataError for a row with more or fewer cells than
        `columns`, and for a file without rows.
        """
        rows, numbers = [], []
        with open(path, encoding="latin-1") as stream:  # a stray byte becomes an unknown level, not a crash
            for number, line in enumerate(stream, 1):
                line = line.strip()
                if not line or skip(number, line):
                    continue
                row = [cell.strip() for cell in line.split(separator)]
                if len(row) != columns:
                    raise DataError(f"{path}, line {number}: {len(row)} columns where {columns} are expected")
                if (longest := max(map(len, row))) > LONGEST:
                    raise DataError(
                        f"{path}, line {number}: a cell of {longest} characters, at most {LONGEST} are read"
                    )
                rows.append(row)
                numbers.append(number)
        if not rows:
            raise DataError(f"{path}: holds no rows")
        return cls(path, np.array(rows), np.array(numbers))

    def _refuse(self, wrong: np.ndarray, column: int, problem: str) -> None:
        """Raise DataError for the first row where `wrong` (N,) is true."""
        if wrong.any():
            row = int(wrong.argmax())
            place = f"{self.path}, line {self.lines[row]}, column {column + 1}"
            raise DataError(f"{place}: {str(self.cells[row, column])!r} {problem}")

    def letters(self, column: int, count: int) -> "Table":
        """The column's strings as a table, one letter per cell. Raises DataError unless each has `count` letters."""
        strings = self.cells[:, column]
        self._refuse(np.char.str_len(strings) != count, column, f"does not have the {count} letters expected")
        return Table(self.path, np.array([list(s) for s in strings]), self.lines)

    def levels(self, column: int, missing: str = "") -> list[str]:
        """The values that occur in a column, sorted, without `missing`."""
        return [str(level) for level in np.unique(self.cells[:, column]) if level != missing]

    def codes(self, column: int, levels: Sequence[str], missing: Sequence[str] = ()) -> np.ndarray:
        """The index of each cell in `levels`, int64 (N,), -1 for one in `missing`. Raises DataError for any other."""
        values, inverse = np.unique(self.cells[:, column], return_inverse=True)
        place = {level: i for i, level in enumerate(levels)} | {level: -1 for level in missing}
        codes = np.array([place.get(str(value), -2) for value in values])[inverse.reshape(-1)]
        self._refuse(codes == -2, column, f"is none of {', '.join([*levels, *missing])}")
        return codes

    def one_hot(self, column: int, levels: Sequence[str], missing: Sequence[str] = ()) -> Tensor:
        """float32 (N, len(levels)) of 0 and 1; the row of a `missing` value is all 0."""
        codes = self.codes(column, levels, missing)
        return torch.from_numpy((codes[:, None] == np.arange(len(levels))).astype(np.float32))

    def numbers(self, columns: Iterable[int]) -> Tensor:
        """float32 (N, len(columns)). Raises DataError for a cell that is not a finite number."""
        return torch.stack([torch.from_numpy(self._column(c)) for c in columns], 1)

    def _column(self, column: int) -> np.ndarray:
        cells = self.cells[:, column]
        try:
            values = cells.astype(np.float64)
        except ValueError:
            values = np.array([_number(cell) for cell in cells])
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        self._refuse(~np.isfinite(values), column, "is no finite number")
        return values

    def labels(self, column: int, levels: Sequence[str]) -> Tensor:
        """int64 (N,), the index of each cell in `levels`."""
        return torch.from_numpy(self.codes(column, levels).astype(np.int64))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
