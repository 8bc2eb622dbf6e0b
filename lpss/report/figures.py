"""Figures of the runs: accuracy by method, and in which layers the zeros are."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lpss.errors import UsageError
from lpss.report.looks import COLOURS, MARKERS, labelled, looks_of
from lpss.report.names import DATASETS, rank
from lpss.report.plotting import STYLE, plot_path, save
from lpss.report.tables import decimals, finished, settle

PANEL = ["dataset", "experiment", "model", "evaluated_on"]
MANY_LAYERS = 12  # more names than this are written vertically


def accuracy_figure(runs: pd.DataFrame, path: str | Path, layers: pd.DataFrame | None = None) -> None:
    """Draw what `collect` returned into `path` (.png, .pdf or .svg), one row of two panels for each data set.

    Left: accuracy after the last epoch, a dot for each run, mean and standard deviation by sparsity and method, the
    dense baseline as a line. Right, where `layers` (of `collect.layers_of`) knows these runs: the sparsity
    that each layer reached, mean over runs, and the requested one dashed. A data set seen with several
    experiments or models gets a row for each. Only finished runs are drawn. Raises UsageError for another
    suffix or where there is nothing to draw, LpssError where the file cannot be written.
    """
    path = plot_path(path)
    runs = finished(settle(runs))
    if runs.empty:
        raise UsageError("no finished run to draw")
    runs = labelled(runs)
    looks = _looks(runs)
    layers = pd.DataFrame(columns=["folder"]) if layers is None else layers
    # Rows without a number (and dense, which has no zeros to show) would only blur the panel.
    layers = layers.merge(runs[["folder", "label"]], on="folder")
    if len(layers):
        layers = layers[(layers["method"] != "dense") & layers["sparsity_reached"].notna()]
    panels = sorted(runs.groupby(PANEL), key=lambda panel: (rank(panel[0][0], DATASETS), panel[0]))
    with rc_context(STYLE):
        tall = len(layers) and layers["layer"].nunique() > MANY_LAYERS
        figure = Figure(figsize=(11, (4.8 if tall else 3.9) * len(panels) + 0.6), layout="constrained")
        grid = figure.subplots(len(panels), 2, squeeze=False, width_ratios=[1, 1.25])
        for (left, right), (key, cell) in zip(grid, panels, strict=True):
            _draw_accuracy(left, cell, looks)
            left.set_title(_title(key, [name for name, _ in panels]), loc="left", weight="bold")
            _draw_layers(right, layers[layers["folder"].isin(cell["folder"])], looks)
        handles = [Line2D([], [], color=c, marker=m, label=label) for label, (c, m) in looks.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=_columns(list(looks)), frameon=False)
        save(figure, path)


def draw_baseline(axes: Axes, accuracy: pd.Series, **line) -> None:
    """The runs of a baseline across the axes, in percent: a line at their mean, a band of a standard deviation."""
    mean, spread = 100 * accuracy.mean(), 100 * accuracy.std(ddof=1)
    axes.axhline(mean, linewidth=1.2, **line)
    if len(accuracy) > 1:
        axes.axhspan(mean - spread, mean + spread, color="black", alpha=0.08, linewidth=0)


def _looks(runs: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Label -> (colour, marker), the same in all panels; dense is black."""
    return {
        label: ("black", "_") if look is None else (COLOURS[look.colour], MARKERS[look.marker])
        for label, look in looks_of(runs).items()
    }


def _columns(labels: list[str], room: int = 145) -> int:
    """Legend columns, as many as fit the figure's width (in characters; a column needs 8 beside its text)."""
    for rows in range(1, len(labels) + 1):
        # The legend fills its columns from top to bottom.
        columns = [labels[i : i + rows] for i in range(0, len(labels), rows)]
        if sum(max(map(len, column)) + 8 for column in columns) <= room:
            return len(columns)
    return 1


def _draw_accuracy(axes: Axes, runs: pd.DataFrame, looks: dict) -> None:
    dense, sparse = runs[runs["method"] == "dense"], runs[runs["method"] != "dense"]
    for label, group in dense.groupby("label"):
        draw_baseline(axes, group["accuracy_last"], color=looks[label][0], zorder=1)
    labels = [label for label in looks if label in set(sparse["label"])]
    sparsities = sorted(sparse["sparsity"].unique())
    pairs = [(sparsity, label) for sparsity in sparsities for label in labels]
    slot = {pair: i + 1.5 * sparsities.index(pair[0]) for i, pair in enumerate(pairs)}
    for key, group in sparse.groupby(["sparsity", "label"]):
        colour, marker = looks[key[1]]
        accuracy, x = 100 * group["accuracy_last"], slot[key]
        spread = accuracy.std(ddof=1) if len(group) > 1 else None
        axes.errorbar(x - 0.12, accuracy.mean(), spread, color=colour, marker=marker, markersize=6, capsize=3)
        axes.plot([x + 0.25] * len(group), accuracy, ".", color=colour, markersize=5, alpha=0.6)
    if len(sparsities) > 1:
        middle = (len(labels) - 1) / 2
        ticks = [slot[s, labels[0]] + middle for s in sparsities]
        axes.set_xticks(ticks, [decimals(100 * s, 0) + " %" for s in sparsities])
        axes.set_xlabel("Requested sparsity (% of maskable weights)")
    else:
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(labels) > 4 else {}
        axes.set_xticks(list(slot.values()), labels, **turned)
        at = f" at {decimals(100 * sparsities[0], 0)} % requested sparsity" if sparsities else ""
        axes.set_xlabel(f"Method{at}")
    axes.set_ylabel(f"{runs['evaluated_on'].iloc[0].capitalize()} accuracy (%)")
    axes.margins(x=0.04, y=0.08)
    axes.set_title("mean and standard deviation; dots: runs", loc="right", color="#777777", fontsize=8)


def _draw_layers(axes: Axes, layers: pd.DataFrame, looks: dict) -> None:
    if layers.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no sparse layers on record", transform=axes.transAxes, ha="center")
        return
    place = {name: i for i, name in enumerate(dict.fromkeys(layers["layer"]))}
    layers = layers.assign(
        x=layers["layer"].map(place),
        reached=100 * layers["sparsity_reached"],
        asked=100 * (1 - layers["density_requested"]),
    )
    profiles = set()
    for _, group in layers.groupby(["sparsity", "label"]):
        asked = group.groupby("x")["asked"].mean().dropna()
        profiles.add((tuple(asked.index), tuple(asked.round(6))))
    for where, asked in sorted(profiles):
        axes.plot(where, asked, "--", color="black", linewidth=0.9, zorder=3)
    many = len(place) > MANY_LAYERS
    labels = [label for label in looks if label in set(layers["label"])]
    for i, label in enumerate(labels):
        aside = 0.5 * ((i + 0.5) / len(labels) - 0.5)  # else methods at the same sparsity hide each other
        for _, group in layers[layers["label"] == label].groupby("sparsity"):
            reached = group.groupby("x")["reached"].mean()
            axes.plot(
                reached.index + aside,
                reached,
                color=looks[label][0],
                marker=looks[label][1],
                markersize=3 if many else 5,
                linewidth=1,
                alpha=0.85,
            )
    turned = {"rotation": 90, "fontsize": 7} if many else {}
    axes.set_xticks(list(place.values()), list(place), **turned)
    axes.set_xlabel("Layer, input to output")
    axes.set_ylabel("Reached sparsity (% of the layer)")
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.set_title("dashed: requested", loc="right", color="#777777", fontsize=8)


def _title(key: tuple, keys: list[tuple]) -> str:
    same = [other for other in keys if other[0] == key[0]]
    parts = [key[i] or "-" for i in range(1, len(PANEL)) if len({other[i] for other in same}) > 1]
    return ", ".join([DATASETS.get(key[0], key[0]), *parts])
