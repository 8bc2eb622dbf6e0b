"""Figs 3 and 4: LpSGD against LpSGD-m, accuracy and Hoyer's sparsity by epoch, a column for each p."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lpss.errors import LpssError
from lpss.paper.common import new_figure, p_of, source
from lpss.report.looks import COLOURS

NAMES = {"lpsgd": "LpSGD", "lpsgd_m": "LpSGD-m"}
COLUMNS = {"train_accuracy": "train_accuracy", "eval_accuracy": "test_accuracy", "hoyer_sparsity": "hoyer_sparsity"}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per run and epoch: optimizer, p, epoch, train_accuracy, test_accuracy, hoyer_sparsity (mean of neurons).

    Raises LpssError for a run whose metrics.csv cannot be read.
    """
    parts = []
    for run in runs.to_dict("records"):
        file = Path(run["folder"]) / "metrics.csv"
        try:
            metrics = pd.read_csv(file)[["epoch", *COLUMNS]].rename(columns=COLUMNS)
        except (OSError, ValueError, KeyError) as error:
            raise LpssError(f"{file}: {str(error).splitlines()[0]}; remove its folder to train it again") from None
        common = {**source(run), "optimizer": run["optimizer"], "p": p_of(run)}
        parts.append(metrics.assign(**common)[[*common, *metrics.columns]])
    return pd.concat(parts).sort_values(["p", "optimizer", "seed", "epoch"], ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    panels = list(table.groupby("p"))
    figure = new_figure(2.6 * len(panels) + 0.6, 5.2, table)
    grid = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), (p, cell) in zip(grid.T, panels, strict=True):
        for colour, (name, rows) in zip(COLOURS, cell.groupby("optimizer"), strict=False):
            mean = rows.groupby("epoch")[list(COLUMNS.values())].mean()
            upper.plot(mean.index, 100 * mean["test_accuracy"], color=colour, marker=".", label=NAMES[name])
            upper.plot(mean.index, 100 * mean["train_accuracy"], color=colour, linestyle="--", linewidth=1)
            lower.plot(mean.index, mean["hoyer_sparsity"], color=colour, marker=".")
        upper.set_title(f"p = {p:g}", loc="left", weight="bold")
        lower.set_xlabel("Epoch")
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    grid[0, 0].set_ylabel("Accuracy (%)")
    grid[1, 0].set_ylabel("Hoyer's sparsity (mean)")
    handles, _ = grid[0, 0].get_legend_handles_labels()
    styles = [("test", "-"), ("train, running mean of the epoch", "--")]
    handles += [Line2D([], [], color="#777777", linestyle=line, label=label) for label, line in styles]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    return figure
