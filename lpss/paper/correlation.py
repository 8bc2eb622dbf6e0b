"""Fig 7: correlation of weights between the neurons of each layer, a column for each p."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lpss.paper.common import layer_kind, new_figure, p_of, source, weights_of
from lpss.report.collect import layers_of

P = (1.1, 1.3, 1.7, 3.0)  # the paper's columns
PART = 16  # how many neurons of a layer are shown, from the first


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each p in `P`, layer and pair of its first `PART` neurons: number, layer, kind, d, p, i, j,
    correlation (Pearson's, over the d weights), and of the whole layer: mean_abs (mean |correlation| of all pairs) and
    by_chance (its expectation for independent normal weights).
    """
    rows = []
    first = {p_of(run): run for run in runs.sort_values("seed", ascending=False).to_dict("records")}
    for p, run in sorted((p, run) for p, run in first.items() if p in P):
        kinds = _kinds(run)
        for number, (layer, weight) in enumerate(weights_of(run).items(), 1):
            matrix = correlations(weight)
            whole = {
                **{**source(run), "number": number, "layer": layer, "kind": kinds[layer], "d": weight.shape[1]},
                **{"p": p, "mean_abs": mean_off_diagonal(np.abs(matrix)), "by_chance": chance(weight.shape[1])},
            }
            shown = matrix[:PART, :PART]
            rows += [{**whole, "i": i, "j": j, "correlation": value} for (i, j), value in np.ndenumerate(shown)]
    return pd.DataFrame(rows)


def correlations(weight: np.ndarray) -> np.ndarray:
    """(neurons, neurons): Pearson's correlation of rows; 0 for a row whose weights are all equal."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.atleast_2d(np.corrcoef(weight.astype(np.float64))))


def mean_off_diagonal(matrix: np.ndarray) -> float:
    """The mean off the diagonal; NaN for a single neuron."""
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1))) if n > 1 else float("nan")


def chance(d: int) -> float:
    """E|r| of two independent rows of d normal weights: r^2 ~ Beta(1/2, (d-2)/2)."""
    from scipy.special import poch

    return float(1 / np.sqrt(np.pi) / poch((d - 1) / 2, 0.5)) if d > 2 else 1.0


def draw(table: pd.DataFrame) -> Figure:
    columns, rows = sorted(table["p"].unique()), sorted(table["number"].unique())
    figure = new_figure(1.75 * len(columns) + 1.6, 1.85 * len(rows) + 0.6, table)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes, ((number, p), cell) in zip(grid.flat, table.groupby(["number", "p"]), strict=True):
        matrix = cell.pivot(index="i", columns="j", values="correlation")
        image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        axes.grid(False)
        axes.set_xticks([])
        axes.set_yticks([])
        first = cell.iloc[0]
        times = first["mean_abs"] / first["by_chance"]
        axes.set_xlabel(f"mean |r| {first['mean_abs']:.3f}, {times:.1f} x chance", fontsize=7)
        if number == rows[0]:
            axes.set_title(f"p = {p:g}", weight="bold")
        if p == columns[0]:
            axes.set_ylabel(f"Layer {number}\n{first['kind']}, dim {first['d']}", fontsize=8)
    bar = figure.colorbar(image, ax=grid, shrink=0.4, aspect=30)
    bar.set_label(f"correlation r of the first {PART} neurons; mean |r| is of all")
    return figure


def _kinds(run: dict) -> dict[str, str]:
    layers = layers_of(pd.DataFrame([run]))
    return dict(zip(layers["layer"], layers["shape"].map(layer_kind), strict=True))
