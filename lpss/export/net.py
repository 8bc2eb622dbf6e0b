"""A trained net that is ready for use: it standardises by itself."""

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from lpss.data.batches import Normalise
from lpss.errors import UsageError
from lpss.export.predict import Rows, predict
from lpss.train.description import Description


class Pixels(nn.Module):
    """Images of bytes -> what batches make of them, bit by bit."""

    def __init__(self, mean, std):
        super().__init__()
        normalise = Normalise(mean, std, "cpu")
        self.register_buffer("scale", normalise.scale)
        self.register_buffer("shift", normalise.shift)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x.float(), self.scale)


class Columns(nn.Module):
    """Tables -> standardised tables, in float64 as data sets are loaded; without mean and std, only made float32."""

    def __init__(self, mean, std):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, None if values is None else torch.tensor(values, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.float() if self.mean is None else ((x.double() - self.mean) / self.std).float()


class ReadyNet(nn.Module):
    """Examples as their data set has them, before anything is standardised -> logits (batch, classes).

    Takes images of bytes (batch, channels, height, width), or tables of numbers (batch, features): what
    `lpss.data.load(name, standardised=False)` gives.

    prepare, model: the standardising part, and the net itself. masks: layer name -> bool, True where active.
    class_names: of the labels 0, 1, ..., where the data set has names for them; input_shape: of one example.
    recipe: from rows of the table of one's own that it was trained with to examples (lpss/data/columns.py).
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor], description: Description):
        super().__init__()
        self.prepare = (Pixels if description.pixels else Columns)(description.mean, description.std)
        self.model = model
        self.masks = dict(masks)
        self.pixels, self.input_shape = description.pixels, description.input_shape
        self.classes, self.class_names = description.classes, description.class_names
        self.recipe = description.recipe

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.input_shape or (self.pixels and x.dtype != torch.uint8):
            wanted = ", ".join(map(str, ("batch", *self.input_shape)))
            kind = "bytes (torch.uint8, 0 to 255)" if self.pixels else "numbers, not standardised"
            raise UsageError(f"the net takes ({wanted}) of {kind}; got {tuple(x.shape)} of {x.dtype}")
        return self.model(self.prepare(x))

    def predict(self, rows: Rows) -> pd.DataFrame:
        """Class and probabilities of each row: see `lpss.export.predict`."""
        return predict(self, rows)
