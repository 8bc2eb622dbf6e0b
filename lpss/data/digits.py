"""scikit-learn's 8x8 digits: a small real set that needs no download, for demos and tests."""

from pathlib import Path

import torch
from torch import Tensor

from lpss.data.dataset import DatasetConfig
from lpss.data.sources import BuiltIn, RandomSplitConfig
from lpss.registries import DATASETS


@DATASETS.register("digits")
class Digits(BuiltIn):
    """1,797 handwritten digits as tables of 64 grey values in 0..1."""

    label = "Digits"
    reference = "Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80"
    order = 12
    Config = RandomSplitConfig
    licence = "CC BY 4.0"
    origin = "scikit-learn (UCI id 80, test part)"
    shape, classes, train, test = (64,), 10, 1_297, 500
    class_names = tuple("0123456789")

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits  # here, as the import takes seconds

        x, y = load_digits(return_X_y=True)
        return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)
