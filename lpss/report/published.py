"""Accuracies that others have published, to compare ours with. The numbers are in published.csv."""

from pathlib import Path

import pandas as pd

from lpss.errors import UsageError, suggestion
from lpss.registries import METHODS

# Some of our methods are other versions of a method that the paper names once.
READING_OF = {name: member.reading_of for name, member in METHODS.members.items() if member.reading_of}


def published(source: str | None = None) -> pd.DataFrame:
    """Columns dataset, model, sparsity, method, accuracy (0..1), source; the baseline is `dense` at sparsity 0.

    `model` is the kind of net, as in our configs (mlp, wrn); its sizes are those of the source.
    Sources: `paper` (Table 4; one run a cell, the model sizes of that table); `rigl-authors-erk` and
    `rigl-authors-erk-2x` (WRN-22-2 on CIFAR-10, 250 epochs and twice that, google-research/rigl issue 8);
    `reproduction` and `reproduction-erk` (a reproducibility study of RigL, means over seeds, uniform, ERK);
    `sparse-learning` (LeNet-300-100 on MNIST: Dettmers and Zettlemoyer, results/MNIST_sparse_summary.csv of their
    repository; trained on nine tenths of the training set); `chts` (MLPs of three hidden layers at .99: the paper on
    Cannistraci-Hebb training).
    RigL's authors keep the first layer dense, which our layer distributions do only with mask.exclude=[stem].
    With `source`, only its rows. Raises UsageError for a source that is not there.
    """
    exact = {"sparsity": float, "accuracy": float}  # sparsity is a key: it must equal the literal 0.9
    frame = pd.read_csv(Path(__file__).with_name("published.csv"), converters=exact)
    if source is None:
        return frame
    known = list(dict.fromkeys(frame["source"]))
    if source not in known:
        raise UsageError(f"unknown source {source!r}{suggestion(source, known)}; known: {', '.join(known)}")
    return frame[frame["source"] == source].reset_index(drop=True)
