"""Critical-difference diagrams (Demsar 2006): average ranks; bars join methods that do not differ significantly."""

import math
import textwrap
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpss.report.comparison import LEVEL, Ranking, ranks
from lpss.report.comparison_report import ranking_title
from lpss.report.names import METHODS
from lpss.report.plotting import STYLE, plot_path, save
from lpss.report.tables import decimals

COLUMNS = 2  # of panels
LINE = 0.2  # inches; heights in a panel are in lines, downwards from its axis
TOP, CD_BAR, FIRST_BAR, BAR_STEP = -2.9, -1.9, 0.6, 0.45
LEGEND = (
    "Average rank by accuracy (1: best). Bars join methods whose ranks differ by less than the critical "
    f"difference (CD, Nemenyi, {decimals(LEVEL, 2)})"
)
# In parts of the axis: from its end to a method's name, and how far a bar extends beyond its methods.
LINK, OVERHANG = 0.06, 0.007


def rank_figure(runs: pd.DataFrame, path: str | Path) -> None:
    """Draw `comparison.ranks` of what `collect` returned into `path` (.png, .pdf or .svg).

    A panel for each sparsity, and one over all where there are several; the best methods are on the left.
    All is black: nothing depends on colours. Raises UsageError for another suffix and as `ranks` does,
    LpssError where the file cannot be written.
    """
    path = plot_path(path)
    rankings = ranks(runs).rankings
    columns = min(COLUMNS, len(rankings))
    rows = math.ceil(len(rankings) / columns)
    depth = max(map(_depth, rankings))
    with rc_context(STYLE):
        size = (5.6 * columns, rows * (LINE * (depth - TOP) + 0.35) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in panels:
            axes.set_axis_off()
            axes.set_ylim(depth, TOP)
        for axes, ranking in zip(panels, rankings, strict=False):
            _draw(axes, ranking)
        figure.supxlabel(textwrap.fill(LEGEND, 75 * columns), fontsize=8, color="#555555")
        save(figure, path)


def _labels_from(ranking: Ranking) -> float:
    """Where the names begin: below the bars."""
    return FIRST_BAR + BAR_STEP * len(ranking.groups()) + 0.4


def _depth(ranking: Ranking) -> float:
    return _labels_from(ranking) + (len(ranking.ranks) + 1) // 2


def _draw(axes: Axes, ranking: Ranking) -> None:
    k = len(ranking.ranks)
    axes.set_xlim(1 - 0.5 * (k - 1), k + 0.5 * (k - 1))
    axes.set_title(ranking_title(ranking), loc="center", weight="bold")
    _draw_axis(axes, k)
    _draw_critical_difference(axes, ranking.critical_difference, k)
    for i, group in enumerate(ranking.groups()):
        y = FIRST_BAR + BAR_STEP * i
        ends = [ranking.ranks[group[0]] - OVERHANG * (k - 1), ranking.ranks[group[-1]] + OVERHANG * (k - 1)]
        axes.plot(ends, [y, y], color="black", linewidth=3.5, solid_capstyle="butt")
    names = list(ranking.ranks)
    # The outermost names are the highest, so that no line crosses another.
    left, right = names[: (k + 1) // 2], names[: (k + 1) // 2 - 1 : -1]
    for side, edge, align in ((left, 1 - LINK * (k - 1), "right"), (right, k + LINK * (k - 1), "left")):
        for i, method in enumerate(side):
            x, y = ranking.ranks[method], _labels_from(ranking) + i
            axes.plot([x, x, edge], [0, y, y], color="black", linewidth=0.8)
            axes.plot(x, 0, "o", color="black", markersize=4)
            name = METHODS.get(method, method)
            axes.text(edge, y, f"{name}  {x:.2f} " if side is left else f" {x:.2f}  {name}", ha=align, va="center")


def _draw_axis(axes: Axes, k: int) -> None:
    axes.plot([1, k], [0, 0], color="black", linewidth=1.2)
    for half in range(2, 2 * k + 1):
        axes.plot([half / 2] * 2, [0, -0.2 if half % 2 else -0.4], color="black", linewidth=0.8)
        if half % 2 == 0:
            axes.text(half / 2, -0.5, str(half // 2), ha="center", va="bottom")


def _draw_critical_difference(axes: Axes, difference: float, k: int) -> None:
    text = f"CD = {difference:.2f}"
    if difference > k - 1:  # no two ranks are as far apart
        axes.text((1 + k) / 2, CD_BAR, f"{text}, longer than the axis", ha="center", va="bottom", fontsize=8)
        return
    ends = [1, 1 + difference]
    axes.plot(ends, [CD_BAR, CD_BAR], color="black", linewidth=1.2, marker="|", markersize=7)
    axes.text(1 + difference / 2, CD_BAR - 0.25, text, ha="center", va="bottom", fontsize=8)
