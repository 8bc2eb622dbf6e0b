"""Gaussian clouds around one centre for each class, generated in any size, for tests and benchmarks."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lpss.data.dataset import DatasetConfig
from lpss.data.sources import BuiltIn
from lpss.data.splits import checked_seed
from lpss.errors import UsageError
from lpss.registries import DATASETS

MOST = 2**31  # numbers, which take 8 GiB


@dataclass
class SyntheticConfig(DatasetConfig):
    """`noise` is the standard deviation around centres, whose own is 1; an `image_shape` [C, H, W] asks for images."""

    features: int = 20
    classes: int = 4
    train_size: int = 2000
    test_size: int = 500
    noise: float = 0.5
    image_shape: list[int] | None = None
    data_seed: int = 0


@DATASETS.register("synthetic")
class Synthetic(BuiltIn):
    """Balanced classes in random order. Raises UsageError for impossible sizes."""

    label = "Synthetic"
    order = 13
    Config = SyntheticConfig
    licence = "none needed"
    origin = "drawn from dataset.data_seed"

    def load(self, root: Path, config: SyntheticConfig, download: bool = True, standardised: bool = True):
        check(config)
        self.shape, self.classes = tuple(config.image_shape or (config.features,)), config.classes
        self.train, self.test = config.train_size, config.test_size
        channels = config.image_shape[0] if config.image_shape else 0
        self.mean, self.std = ((0.5,) * channels, (0.2,) * channels) if channels else (None, None)
        self.numeric = None if channels else slice(None)
        return super().load(root, config, download, standardised)

    def parse(self, paths: list[Path], config: SyntheticConfig) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(checked_seed("data_seed", config.data_seed))
        # Whole rounds of all classes, training and test apart, so that each holds every class evenly.
        sizes = (config.train_size, config.test_size)
        y = torch.cat([torch.randperm(size, generator=draw) % config.classes for size in sizes])
        centres = torch.randn(config.classes, prod(self.shape), generator=draw)
        x = centres[y] + config.noise * torch.randn(len(y), prod(self.shape), generator=draw)
        if config.image_shape:
            x = (128 + 48 * x).clamp(0, 255).to(torch.uint8)
        return x.reshape(-1, *self.shape), y


def check(config: SyntheticConfig) -> None:
    """Raises UsageError that names the first option out of range."""
    for key, lowest in {"features": 1, "classes": 2, "train_size": 1, "test_size": 1, "noise": 0}.items():
        if getattr(config, key) < lowest:
            raise UsageError(f"dataset.{key}={getattr(config, key)}: at least {lowest} is needed")
    if config.train_size < config.classes:
        raise UsageError(f"dataset.train_size={config.train_size}: a row for each of dataset.classes={config.classes}")
    shape = config.image_shape
    if shape is not None and (len(shape) != 3 or min(shape) < 1):
        raise UsageError(f"dataset.image_shape={list(shape)}: must be [channels, height, width]")
    width, rows = prod(shape or (config.features,)), config.train_size + config.test_size
    if rows * width > MOST:
        sizes = "train_size, test_size, features and image_shape"
        raise UsageError(f"dataset: {rows} rows of {width} numbers by {sizes}, more than {MOST} in all")
