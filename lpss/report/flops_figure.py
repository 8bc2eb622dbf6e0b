"""Accuracy against the FLOPs of training: what a method's accuracy costs."""

import math
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from lpss.errors import UsageError
from lpss.report.looks import COLOURS, MARKERS
from lpss.report.names import DATASETS, KINDS, METHODS, kind_of
from lpss.report.plotting import STYLE, plot_path, save
from lpss.report.render import sparsity_text
from lpss.report.tables import CONTEST

COLUMNS = 3  # of panels
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
LOOKS = dict(
    zip(KINDS, zip(("black", *COLOURS), ("_", *MARKERS), strict=False), strict=False)
)  # kind -> colour, marker


def flops_figure(table: pd.DataFrame, path: str | Path) -> None:
    """Draw `tables.aggregate`'s cells into `path` (.png, .pdf or .svg): a panel for each data set, model and sparsity.

    Training FLOPs, relative to dense, from left to right on a logarithmic axis; mean accuracy with its standard
    deviation upwards. Every method is named; colours and markers tell when its nets are sparse. The dense baseline is
    in every panel of its data set. What lies far below all others stands at the foot, with its accuracy. Raises
    UsageError for another suffix or where there is nothing to draw, LpssError where the file cannot be written.
    """
    path = plot_path(path)
    table = table[(table["n"] > 0) & table["train_flops"].notna()]
    sparse = table[table["method"] != "dense"]
    if sparse.empty:
        raise UsageError("no finished run of a sparse method to draw")
    panels = list(sparse.groupby(CONTEST, sort=False))
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(4.6 * columns, 3.6 * rows + 0.5), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, (key, cells) in zip(grid, panels, strict=False):
            dataset, model, sparsity, evaluated_on = key
            dense = table[(table["method"] == "dense") & (table["dataset"] == dataset) & (table["model"] == model)]
            _draw(axes, pd.concat([dense[dense["evaluated_on"] == evaluated_on], cells]))
            several = bool(sparse.groupby("dataset")["model"].nunique().max() > 1)
            name = f"{DATASETS.get(dataset, dataset)}{f', {model}' * several}, sparsity {sparsity_text(sparsity)}"
            axes.set_title(name, loc="left", weight="bold")
        figure.supxlabel("training FLOPs, dense = 1", fontsize=9)
        figure.supylabel("accuracy, %", fontsize=9)
        kinds = [kind for kind in KINDS if kind in set(map(kind_of, table["method"]))]
        handles = [
            Line2D([], [], color=LOOKS[kind][0], marker=LOOKS[kind][1], linestyle="", label=KINDS[kind])
            for kind in kinds
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
        save(figure, path)


def _draw(axes: Axes, cells: pd.DataFrame) -> None:
    foot = _foot(100 * cells["accuracy_mean"])
    places, below = [], []
    for row in cells.sort_values(["accuracy_mean", "method"]).to_dict("records"):
        colour, marker = LOOKS.get(kind_of(row["method"]), LOOKS["dense"])
        x, y, name = row["train_flops"], 100 * row["accuracy_mean"], METHODS.get(row["method"], row["method"])
        if y < foot:
            below.append((x, f"{name} {y:.1f}", colour))
            continue
        spread = 0 if math.isnan(row["accuracy_std"]) else 100 * row["accuracy_std"]
        axes.errorbar(x, y, spread, color=colour, marker=marker, markersize=5, elinewidth=0.8)
        places.append((math.log(x), y, name))
    bottom, top = axes.get_ylim()
    if below:
        axes.set_ylim(bottom - (top - bottom) / 10, top)
    for x, name, colour in below:
        axes.plot(x, bottom, color=colour, marker="v", markersize=5)
        places.insert(0, (math.log(x), bottom, name))
    axes.set_xscale("log")
    low, high = cells["train_flops"].min(), cells["train_flops"].max()
    axes.set_xlim(low / 1.25, high * 1.9)
    axes.xaxis.set(major_locator=FixedLocator(TICKS), minor_locator=NullLocator())
    axes.set_xticks([tick for tick in TICKS if low / 1.25 <= tick <= high * 1.9])
    axes.set_xticklabels([f"{tick:g}" for tick in TICKS if low / 1.25 <= tick <= high * 1.9])
    _name(axes, places)


def _foot(accuracies: pd.Series) -> float:
    """In points: what is below it, ten behind the median at least, would squeeze all others together."""
    median = accuracies.median()
    return median - max(10, 3 * (accuracies.max() - median))


def _name(axes: Axes, places: list[tuple[float, float, str]]) -> None:
    """Write names beside their points, from the lowest up, each as high as it must be to be read."""
    bottom, top = axes.get_ylim()
    line, width = (top - bottom) / 22, 0.35  # of a name: its height, and half of its width in the logarithm of FLOPs
    written: list[tuple[float, float]] = []
    for x, y, name in places:
        height = y
        while any(abs(x - other) < width and abs(height - at) < line for other, at in written):
            height += line / 4
        written.append((x, height))
        axes.annotate(name, (math.exp(x), height), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7)
