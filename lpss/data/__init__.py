"""Data sets by name: `load("letter")` gives a `Dataset`, `Batches` walks through its training split."""

from lpss.data import digits, images, synthetic, tiny_imagenet, uci  # noqa: F401  (each registers its sets)
from lpss.data.augment import AugmentConfig
from lpss.data.batches import Batches, eval_batches
from lpss.data.dataset import Dataset, DatasetConfig, Split, hold_out
from lpss.data.sources import DATASETS, BuiltIn, DataSource, default_root, load

__all__ = [
    "DATASETS",
    "AugmentConfig",
    "Batches",
    "BuiltIn",
    "DataSource",
    "Dataset",
    "DatasetConfig",
    "Split",
    "default_root",
    "eval_batches",
    "hold_out",
    "load",
]
