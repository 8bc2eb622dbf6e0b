"""New rows for a trained net, from files: tables, arrays or images, by what they are called."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from lpss.data.arrays import load_arrays
from lpss.data.csv_table import read_csv
from lpss.data.parquet_table import read_parquet
from lpss.errors import DataError, UsageError
from lpss.export.net import ReadyNet
from lpss.export.predict import Rows


def read_rows(paths: Sequence[Path], net: ReadyNet, array: str = "x", **text) -> Rows:
    """The rows of a csv, parquet, npy or npz file, or images: files, and all in folders and their folders, in order.

    array: which of an npz file; text: options of `read_csv`, in place of those of the net's training. Raises DataError
    or UsageError for what cannot be read.
    """
    if absent := [path for path in paths if not path.exists()]:
        raise UsageError(f"{absent[0]}: there is no such file or folder")
    first, kind = paths[0], paths[0].suffix.lower()
    if first.is_dir() or kind in IMG_EXTENSIONS:
        return [image for path in paths for image in _images(path)]
    if len(paths) > 1:
        raise UsageError(f"{paths[1]}: one file of rows at a time, or images")
    if kind in (".npy", ".npz"):
        return _array(first, array)
    if kind == ".parquet":
        return read_parquet(first)
    return read_csv(first, **{**(net.recipe.text if net.recipe is not None else {}), **text})


def _images(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMG_EXTENSIONS)
    if not found:
        raise DataError(f"{path} holds no images ({', '.join(IMG_EXTENSIONS)})")
    return found


def _array(path: Path, name: str) -> np.ndarray:
    content = load_arrays(path)
    if isinstance(content, np.ndarray):
        return content
    if name not in content:
        raise UsageError(f"{path}: there is no array {name!r}, but {', '.join(content)}: say --array")
    return content[name]
