"""What the figures share: columns that say where rows come from, the files of a run, a line that names the runs."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lpss.errors import LpssError
from lpss.record import WEIGHTS
from lpss.report.names import DATASETS

SOURCE = ["experiment", "dataset", "model", "epochs", "steps", "seed"]  # the first columns of every table


def source(run: dict) -> dict:
    """The columns `SOURCE` of a run (a record of what `collect` returns)."""
    return {name: run[name] for name in SOURCE}


def p_of(run: dict) -> float:
    """The one p of all layers of a run."""
    return float(json.loads(run["p"]))


def source_line(table: pd.DataFrame) -> str:
    """Which runs a table is made of, in words."""
    parts = []
    for (experiment, dataset, model), rows in table.groupby(["experiment", "dataset", "model"], sort=False):
        epochs = "/".join(f"{n}" for n in sorted(rows["epochs"].unique()))
        seeds = rows["seed"].nunique()
        parts.append(
            f"{experiment}: {DATASETS.get(dataset, dataset)}, {model}, {epochs} epoch{'s' * (epochs != '1')}, "
            f"{seeds} seed{'s' * (seeds > 1)}"
        )
    return "; ".join(parts)


def weights_of(run: dict) -> dict[str, np.ndarray]:
    """Layer name -> weight (neurons, fan-in) of a run's maskable layers, in the net's order.

    Raises LpssError where the run's folder has lost weights.safetensors or layers.csv.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(run["folder"])
    try:
        tensors = load_file(folder / WEIGHTS)
        names = pd.read_csv(folder / "layers.csv", dtype={"layer": str})["layer"]
        return {name: _rows(tensors[f"net.{name}.weight"]) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise LpssError(
            f"{folder}: weights.safetensors or layers.csv cannot be read ({str(error).splitlines()[0]}); "
            "remove the folder to train this run again"
        ) from None


def layer_kind(shape: str) -> str:
    """conv or linear, from a weight's shape as in layers.csv."""
    return "conv" if shape.count("x") > 1 else "linear"


def fan_in(shape: str) -> int:
    """Weights of a neuron, from a weight's shape as in layers.csv."""
    return math.prod(map(int, shape.split("x")[1:]))


def new_figure(width: float, height: float, table: pd.DataFrame) -> Figure:
    """An empty figure (sizes in inches) with a line at the bottom that says which runs it shows."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.supxlabel(source_line(table), fontsize=7.5, color="#555555", wrap=True)
    return figure


def _rows(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(len(weight), -1)
