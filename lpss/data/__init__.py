"""Data sets by name: `load("letter")` gives a `Dataset`, `Batches` iterates over its training split.

A new set is a file here and a yaml in conf/dataset/ (see lpss/registry.py).
"""

from lpss.data.augment import AugmentConfig
from lpss.data.batches import Batches, eval_batches
from lpss.data.dataset import Dataset, DatasetConfig, Split
from lpss.data.sources import BuiltIn, DataSource, default_root, load
from lpss.data.splits import hold_out
from lpss.registries import DATASETS

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
