"""Predictions of a ready net: new rows, arrays or images, as they come -> classes and probabilities."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lpss.data.columns import as_table, plain_numbers
from lpss.data.own_images import read_image
from lpss.errors import UsageError

if TYPE_CHECKING:
    from lpss.export.net import ReadyNet

BATCH = 1000
Rows = pd.DataFrame | np.ndarray | Tensor | Sequence[str | Path]


def predict(net: "ReadyNet", rows: Rows, source: str = "the rows") -> pd.DataFrame:
    """A row for each of `rows`, with the columns prediction, probability (its), and p(CLASS) for each class.

    rows: a table with the columns that the net was trained with; or an array of examples as the data set has them; or
    paths of images. source: what messages call them. Raises DataError for rows that cannot be encoded, UsageError for
    those of another kind.
    """
    examples = encode(net, rows, source)
    with torch.inference_mode():
        logits = torch.cat([net(part) for part in examples.split(BATCH)])
    probabilities = logits.double().softmax(1).numpy()
    names = net.class_names or tuple(map(str, range(net.classes)))
    index = rows.index if isinstance(rows, pd.DataFrame) else None
    table = pd.DataFrame(probabilities, columns=[f"p({name})" for name in names], index=index)
    table.insert(0, "prediction", np.array(names, dtype=object)[probabilities.argmax(1)])
    table.insert(1, "probability", probabilities.max(1))
    return table


def encode(net: "ReadyNet", rows: Rows, source: str = "the rows") -> Tensor:
    """What the net takes, of `rows` as in `predict`."""
    if not isinstance(rows, (pd.DataFrame, np.ndarray, Tensor)):
        if not net.pixels:
            raise UsageError(f"{source}: the net takes rows of a table, not images")
        return torch.stack([read_image(Path(path), net.input_shape) for path in rows])
    if net.pixels and isinstance(rows, pd.DataFrame):
        raise UsageError(f"{source}: the net takes images, not rows of a table")
    if net.recipe is not None:
        table = rows if isinstance(rows, pd.DataFrame) else as_table(np.asarray(rows))
        return net.recipe.encode(table, source)
    if isinstance(rows, Tensor):
        return rows
    return torch.tensor(plain_numbers(rows, source) if isinstance(rows, pd.DataFrame) else rows)
