"""A folder of images of one's own, a folder a class."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset
from tqdm import tqdm

from lpss.data import cache
from lpss.data.dataset import Dataset
from lpss.data.own import Classes, OwnConfig, OwnData, draw_by_class, drawn_from, find, split_facts
from lpss.data.own_images import image_dataset, read_image
from lpss.errors import DataError, UsageError
from lpss.registries import DATASETS

LARGEST = 1024  # pixels of a side
PARTS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation")}  # names of folders


@dataclass
class ImageFolderConfig(OwnConfig):
    """`size`: what a side is resized to, in pixels; `grey`: one channel in place of three."""

    size: int = 32
    grey: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1 if self.grey else 3, self.size, self.size)


@DATASETS.register("image_folder")
class ImageFolder(OwnData):
    """Images of your own, a folder a class, maybe in train/ and test/ (or val/): dataset.path=FOLDER."""

    label = "Images"
    order = 17
    Config = ImageFolderConfig

    def load(self, root: Path, config: ImageFolderConfig, download: bool = True, standardised: bool = True) -> Dataset:
        if not 1 <= config.size <= LARGEST:
            raise UsageError(f"dataset.size={config.size}: must be 1 to {LARGEST} pixels")
        folder = find("path", config.path)
        train, test = (_part(folder, names) for names in PARTS.values())
        if config.test_path:
            train, test = train or folder, find("test_path", config.test_path)
        if train and test:
            files = [_files(train), _files(test)]
        else:
            rows = _files(train or folder)
            held = draw_by_class(config, rows)
            files = [rows[~held], rows[held]]
        counts = [len(part) for part in files]
        facts = split_facts(config, *counts, drawn_from(config, "the images"), test_part=test if train else None)
        classes = Classes.of(files[0], str(folder))
        codes = [classes.codes(part.reset_index(drop=True), str(folder)) for part in files]
        images = _read(root, [Path(path) for part in files for path in part.index], config)
        return image_dataset(config, images.split(counts), codes, classes, facts)


def _part(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The folder of one part of the set, if it has one."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _files(folder: Path) -> pd.Series:
    """The class of each image, by its path, in order. Raises DataError."""
    try:
        classes, places = find_classes(folder)
        found = make_dataset(str(folder), places, extensions=IMG_EXTENSIONS, allow_empty=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: a folder with a folder for each class is expected ({error})") from None
    if not found:
        raise DataError(f"{folder}: its folders {', '.join(classes[:5])} hold no images ({', '.join(IMG_EXTENSIONS)})")
    paths, labels = zip(*found, strict=True)
    return pd.Series([classes[label] for label in labels], index=list(paths), dtype="object")


def _read(root: Path, paths: list[Path], config: ImageFolderConfig) -> Tensor:
    """uint8 (N, C, H, W), from the cache where no file has changed."""
    key = cache.key(root, paths, ImageFolder.version, [str(config.shape)])
    place = f"image_folder-{hashlib.sha256(str(Path(config.path).resolve()).encode()).hexdigest()[:8]}-{config.size}"
    if (cached := cache.read(root, place, key)) is not None:
        return cached["x"]
    images = torch.empty(len(paths), *config.shape, dtype=torch.uint8)
    for row, path in enumerate(tqdm(paths, "reading images", unit="image", leave=False, disable=None)):
        images[row] = read_image(path, config.shape)
    cache.write(root, place, key, {"x": images, "y": torch.zeros(len(paths), dtype=torch.int64)})
    return images
