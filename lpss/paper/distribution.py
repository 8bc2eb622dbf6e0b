"""Fig 2: the weights of one output neuron, a column for each p."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lpss.paper.common import new_figure, p_of, source, weights_of
from lpss.report.looks import COLOURS

NEURON = 0  # of the output layer: the first class
SMALL = 0.1  # of the largest magnitude: what counts as close to zero


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each weight of output neuron `NEURON`: p, weight, of the run with the smallest seed for each p."""
    rows = []
    for run in runs.sort_values("seed").drop_duplicates("p").to_dict("records"):
        neuron = list(weights_of(run).values())[-1][NEURON]
        common = {**source(run), "p": p_of(run)}
        rows += [{**common, "neuron": NEURON, "weight": float(weight)} for weight in neuron]
    return pd.DataFrame(rows).sort_values("p", kind="stable", ignore_index=True)


def share_small(weights: pd.Series) -> float:
    """The share of weights below `SMALL` x the largest magnitude."""
    magnitudes = weights.abs()
    return float((magnitudes < SMALL * magnitudes.max()).mean())


def draw(table: pd.DataFrame) -> Figure:
    figure = new_figure(7.5, 4.2, table)
    axes = figure.subplots()
    columns = list(table.groupby("p")["weight"])
    for x, (_, weights) in enumerate(columns):
        spread = np.linspace(-0.28, 0.28, len(weights))  # so that equal weights do not hide each other
        axes.plot(x + spread, weights, "o", color=COLOURS[0], markersize=3, alpha=0.7, markeredgewidth=0)
        top = table["weight"].abs().max() * 1.08
        axes.text(x, top, f"{100 * share_small(weights):.0f} %", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(columns)), [f"{p:g}" for p, _ in columns])
    axes.set_xlabel("p")
    axes.set_ylabel(f"Weights of output neuron {NEURON}")
    axes.set_title(f"Above: weights smaller than {SMALL:g} x the largest", loc="right", fontsize=8, color="#555555")
    axes.set_ylim(-1.1 * table["weight"].abs().max(), top * 1.12)
    return figure
