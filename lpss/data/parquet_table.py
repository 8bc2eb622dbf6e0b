"""A parquet file of one's own."""

from pathlib import Path

import pandas as pd

from lpss.data.own_table import OwnTable
from lpss.errors import DataError, UsageError, reason
from lpss.registries import DATASETS


@DATASETS.register("parquet")
class ParquetTable(OwnTable):
    """A parquet file of your own: dataset.path=FILE dataset.target=COLUMN."""

    label = "Parquet"
    order = 15

    def read(self, path: Path, config) -> pd.DataFrame:
        return read_parquet(path)


def read_parquet(path: Path) -> pd.DataFrame:
    """The rows, numbered from 0. Raises DataError, and UsageError where pyarrow is not installed."""
    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise UsageError('parquet files need pyarrow: pip install "lpss[parquet]"') from None
    except Exception as error:  # of pyarrow, of many kinds
        raise DataError(f"{path} cannot be read as parquet: {reason(error)}") from None
    if table.empty:
        raise DataError(f"{path} holds no rows")
    table.columns = [str(name) for name in table.columns]
    if not table.columns.is_unique:
        raise DataError(f"{path}: two columns are called {table.columns[table.columns.duplicated()][0]!r}")
    return table.reset_index(drop=True)
