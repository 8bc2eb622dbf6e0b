"""Tiny ImageNet from its folder of JPEG files, the whole set or a part of its classes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image  # comes with torchvision, whose own decoder is deprecated
from torch import Tensor

from lpss.data import store
from lpss.data.dataset import DatasetConfig, Expected
from lpss.data.sources import DataSource, Status
from lpss.data.unpack import MIB, unpack_tree
from lpss.errors import DataError
from lpss.registries import DATASETS

FULL = "tiny-imagenet-200"
ARCHIVE = store.File(f"{FULL}.zip", 248_100_043, "md5:90528d7ca1a48142e341f4ef8d21d0de", ())
SIDE = 64


@dataclass
class TinyImageNetConfig(DatasetConfig):
    """`folder` below the data folder holds the set; another one may hold fewer classes."""

    folder: str = FULL


@DATASETS.register("tiny_imagenet")
class TinyImageNet(DataSource):
    """Stanford CS231n's set. The labelled validation images are the test split; classes are the sorted wnids.

    Layout: wnids.txt, train/<wnid>/images/*.JPEG (or train/<wnid>/*.JPEG), a flat val/images and
    val/val_annotations.txt. Each class must have the same number of training images.
    """

    label = "Tiny ImageNet"
    reference = "Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    order = 11
    Config = TinyImageNetConfig
    licence = "ImageNet terms, research only"
    origin = f"http://cs231n.stanford.edu/{FULL}.zip"  # offers no https
    where = "its folder"
    mean, std = (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)

    def expected(self, root: Path, config: TinyImageNetConfig) -> Expected:
        found = self.found
        return Expected((3, SIDE, SIDE), len(found.wnids), len(found.train), len(found.test))

    def locate(self, root: Path, config: TinyImageNetConfig, download: bool) -> list[Path]:
        folder = root / config.folder
        if not folder.is_dir():
            if config.folder != FULL:
                raise self.absent(root, config.folder, f"is not on offer, only {FULL} is")
            if not download:
                raise self.absent(root, FULL, "was not to be downloaded")
            self.download(root)
        self.found = index(folder)
        self.class_names = tuple(self.found.wnids)
        images = [path for path, _ in self.found.train + self.found.test]
        return [folder / "wnids.txt", folder / "val" / "val_annotations.txt", *images]

    def absent(self, root: Path, folder: str, reason: str) -> DataError:
        others = sorted(path.parent.name for path in root.glob("tiny-imagenet-*/wnids.txt"))
        hint = f" ({others[0]} is there: say dataset.folder={others[0]})" if others else ""
        return store.absent(self.name, root, folder, reason + hint)

    def verify(self, paths: list[Path]) -> None:
        """Only the archive has a published checksum; `index` has checked the layout and the counts."""

    def download(self, root: Path) -> None:
        """Fetch and unpack the whole set; the folder gets its final name when it is complete. Raises DataError."""
        with store.scratch(self.name, root) as folder:
            (url,) = store.offers(ARCHIVE.path, (self.origin,))
            packed = folder / ARCHIVE.path
            try:
                store.download(url, packed, ARCHIVE.size)
                if not store.intact(ARCHIVE, packed):
                    raise DataError(f"its checksum is wrong, expected {ARCHIVE.checksum}")
                unpack_tree(packed, folder, limit=1024 * MIB)
            except DataError as error:
                raise self.absent(root, FULL, f"could not be downloaded ({url}: {error})") from error
            try:
                os.rename(folder / FULL, root / FULL)
            except OSError:
                if not (root / FULL / "wnids.txt").is_file():  # else another process was faster
                    raise

    def fetch(self, root: Path) -> None:
        if not (root / FULL).is_dir():
            self.download(root)
        index(root / FULL)

    def status(self, root: Path) -> Status:
        folders = sorted(p for p in root.glob("tiny-imagenet-*") if p.is_dir())
        if not folders:
            return Status("missing", 0, FULL)
        folder = root / FULL if (root / FULL) in folders else folders[0]
        try:
            paths = self.locate(root, TinyImageNetConfig(self.name, folder=folder.name), download=False)
        except DataError as error:
            return Status("altered", 0, str(error))
        note = "" if folder.name == FULL else f"only a part: dataset.folder={folder.name}"
        return Status("present", sum(path.stat().st_size for path in paths), note)

    def parse(self, paths: list[Path], config: TinyImageNetConfig) -> tuple[Tensor, Tensor]:
        train, test = self.found.train, self.found.test
        images = torch.empty(len(train) + len(test), 3, SIDE, SIDE, dtype=torch.uint8)
        for row, (path, _) in enumerate(train + test):
            images[row] = read_jpeg(path)
        return images, torch.tensor([label for _, label in train + test])


class Index(NamedTuple):
    """The sorted wnids, and path and label of each training and test image."""

    wnids: list[str]
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]


def index(folder: Path) -> Index:
    """The contents of the folder. Raises DataError for a broken layout or classes of unequal size."""
    wnids = sorted(_lines(folder / "wnids.txt"))
    if folder.name == FULL and len(wnids) != 200:
        raise DataError(f"{folder / 'wnids.txt'}: {len(wnids)} classes where 200 are expected")
    if len(wnids) < 2 or not all(re.fullmatch(r"[\w-]+", wnid) for wnid in wnids):
        raise DataError(
            f"{folder / 'wnids.txt'}: not a list of two or more classes, one per line; is the copy complete?"
        )
    label = {wnid: i for i, wnid in enumerate(wnids)}
    train: list[tuple[Path, int]] = []
    for wnid in wnids:
        images = _images(folder / "train" / wnid)
        if not images or len(images) * label[wnid] != len(train):
            raise DataError(f"{folder / 'train' / wnid}: {len(images)} images, unlike the others; is it complete?")
        train += [(path, label[wnid]) for path in images]
    annotations = folder / "val" / "val_annotations.txt"
    present = {path.name: path for path in _images(folder / "val")}
    test = []
    for number, line in enumerate(_lines(annotations), 1):
        name, wnid = (line.split("\t") + [""])[:2]
        if wnid not in label:
            raise DataError(f"{annotations}, line {number}: the class {wnid!r} is not in wnids.txt")
        if name not in present:
            raise DataError(f"{annotations}, line {number}: the image {name!r} is missing")
        test.append((present[name], label[wnid]))
    if not test:
        raise DataError(f"{annotations}: holds no images; is the copy complete?")
    return Index(wnids, train, test)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="latin-1").splitlines() if line]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); is the copy complete?") from error


def _images(folder: Path) -> list[Path]:
    """The JPEG files of folder/images, or of the folder itself, sorted by name."""
    if (folder / "images").is_dir():
        folder = folder / "images"
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".JPEG")]
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); is the copy complete?") from error


def read_jpeg(path: Path) -> Tensor:
    """uint8 (3, 64, 64), grey as three equal channels. Raises DataError for another size or content."""
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if image.size != (SIDE, SIDE):
                raise DataError(f"{path}: {image.size} pixels where {SIDE} x {SIDE} are expected")
            pixels = np.array(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"{path} is not a readable JPEG ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)
