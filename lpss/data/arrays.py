"""numpy arrays of one's own: rows of numbers, or images of bytes."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lpss.data.columns import as_table
from lpss.data.dataset import Dataset
from lpss.data.own import Classes, draw_by_class, drawn_from, find, split_facts
from lpss.data.own_images import image_dataset
from lpss.data.own_table import OwnTable, OwnTableConfig
from lpss.errors import DataError, UsageError, reason
from lpss.registries import DATASETS


@dataclass
class ArraysConfig(OwnTableConfig):
    """`inputs`, `target`: the names of inputs and labels in an npz file; of an npy file, which holds the inputs alone,
    `target` is the file of labels."""

    inputs: str = "x"
    target: str | None = "y"


@DATASETS.register("npz")
class Arrays(OwnTable):
    """An npz file of your own with arrays x and y, or an npy file: dataset.path=FILE."""

    label = "Arrays"
    order = 16
    Config = ArraysConfig

    def read(self, path: Path, config: ArraysConfig) -> pd.DataFrame:
        x, y = read_arrays(path, config)
        if x.ndim != 2:
            raise DataError(f"{path}: inputs of shape {x.shape} where a table is expected, as training rows are")
        return as_table(x).assign(**{config.target: y})

    def load(self, root: Path, config: ArraysConfig, download: bool = True, standardised: bool = True) -> Dataset:
        path = find("path", config.path)
        x, y = read_arrays(path, config)
        if x.ndim == 2:
            return super().load(root, config, download, standardised)
        images, labels = as_images(x, path), pd.Series(y).map(str)
        if config.test_path:
            test_path = find("test_path", config.test_path)
            test_x, test_y = read_arrays(test_path, config)
            parts = (images, labels), (as_images(test_x, test_path), pd.Series(test_y).map(str))
        else:
            test_path = path
            held = draw_by_class(config, labels)
            parts = [(images[torch.from_numpy(rows)], labels[rows]) for rows in (~held, held)]
        classes = Classes.of(parts[0][1], str(path))
        codes = [classes.codes(part, str(file)) for (_, part), file in zip(parts, (path, test_path), strict=True)]
        facts = split_facts(config, len(codes[0]), len(codes[1]), drawn_from(config, "the images"))
        return image_dataset(config, [part for part, _ in parts], codes, classes, facts)


def as_images(x: np.ndarray, path: Path) -> Tensor:
    """uint8 (N, C, H, W) of images with channels in front, behind, or, of grey ones, nowhere. Raises DataError."""
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(
            f"{path}: inputs are {x.dtype} of shape {x.shape}: numbers of shape (rows, columns) or images "
            f"of bytes (uint8) of shape (rows, channels, height, width) are expected"
        )
    images = torch.from_numpy(x)
    if images.dim() == 3:
        return images.unsqueeze(1)
    return images if images.shape[1] in (1, 3, 4) or images.shape[3] not in (1, 3, 4) else images.movedim(3, 1)


def read_arrays(path: Path, config: ArraysConfig) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels, as many of each. Raises DataError or UsageError."""
    content = load_arrays(path)
    if isinstance(content, np.ndarray):
        if not config.target or not Path(config.target).expanduser().exists():
            raise UsageError(f"dataset.target={config.target}: {path} holds inputs alone: name the npy file of labels")
        x, y = content, load_arrays(Path(config.target).expanduser())
        y = next(iter(y.values())) if isinstance(y, dict) else y
    else:
        if absent := [name for name in (config.inputs, config.target) if name not in content]:
            known = ", ".join(content)
            raise UsageError(
                f"{path}: there is no array {absent[0]!r}, but {known}: say dataset.inputs, dataset.target"
            )
        x, y = content[config.inputs], content[config.target]
    if x.ndim < 2 or y.shape != x.shape[:1] or not len(y):
        raise DataError(
            f"{path}: inputs of shape {x.shape} with labels of shape {y.shape}: one label a row is expected"
        )
    if x.ndim == 2 and not (np.issubdtype(x.dtype, np.number) or x.dtype == bool):
        raise DataError(f"{path}: inputs are {x.dtype}, numbers are expected")
    return x, y.astype(str) if y.dtype.kind == "S" else y


def load_arrays(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """The array of an npy file, those of an npz file by name. Raises DataError."""
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as numpy arrays: {reason(error)}") from None
