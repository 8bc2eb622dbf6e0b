"""The picture of sparse.json: speed-up against sparsity."""

from collections.abc import Iterable
from pathlib import Path

from bench_sparse_readme import SPARSITIES, short
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lpss.report.looks import COLOURS, MARKERS
from lpss.report.plotting import STYLE, save

DRAWN = {  # panel -> part, and the cells drawn of it (all where it has none of them)
    "One layer": {"layers": [("1024x1024", 128)], "conv": [("64 channels, 16x16", 128)]},
    "A whole training step": {"steps": [("Nerva's MLP", 100), ("letter MLP", 128), ("WRN-22-2", 128)]},
}
BASELINES = {"csr": ("torch CSR", ":"), "sparselab": ("SparseLab", "--")}  # of a panel's first cell


def draw(data: dict, path: Path) -> None:
    """Speed-up against sparsity with the fewest threads, of ours and other sparse code; dense is 1."""
    threads = min(cell["threads"] for cell in data["cells"])
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(9.5, 4.2), layout="constrained")
        for axes, (title, parts) in zip(figure.subplots(1, 2, sharey=True), DRAWN.items(), strict=True):
            chosen = []
            for part, wanted in parts.items():
                cells = [cell for cell in data["cells"] if cell["part"] == part and cell["threads"] == threads]
                found = [cell for cell in cells if (cell["name"], cell["batch"]) in wanted]
                chosen += found or cells
            _panel(axes, chosen)
            axes.set_title(f"{title}, {threads} thread{'s' * (threads > 1)}", loc="left", weight="bold")
        figure.supylabel("times faster than dense float32", fontsize=9)
        save(figure, path)


def _panel(axes: Axes, cells: Iterable[dict]) -> None:
    for number, cell in enumerate(cells):
        label = {"layers": "Linear ", "conv": "3x3 conv, "}.get(cell["part"], "") + cell["name"]
        look = {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 5, "linewidth": 1.8}
        axes.plot(*_curve(cell, "ours"), label=label, **look)
        for kind, (name, style) in BASELINES.items() if number == 0 else ():
            places, values = _curve(cell, kind)
            if places:
                axes.plot(
                    places, values, linestyle=style, color=COLOURS[number], linewidth=1.2, label=f"{name}, the same"
                )
    axes.axhline(1, color="black", linewidth=1)
    axes.annotate("dense", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.set(xlim=(1.8, 115), xscale="log")
    axes.set_yscale("log")
    ticks = [1 / (1 - sparsity) for sparsity in SPARSITIES]
    axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axes.set_xticklabels([short(sparsity) for sparsity in SPARSITIES])
    numbers = [0.5, 1, 2, 4, 8, 16, 32]
    axes.yaxis.set(major_locator=FixedLocator(numbers), minor_locator=NullLocator())
    axes.set_yticklabels([f"{number:g}" for number in numbers])
    axes.set_xlabel("sparsity")
    axes.legend(frameon=False, loc="upper left")


def _curve(cell: dict, kind: str) -> tuple[list[float], list[float]]:
    """(1 / density, speed-up) of one kind."""
    points = [
        (1 / (1 - sparsity), cell["speed_up"][f"{kind} {sparsity}"])
        for sparsity in SPARSITIES
        if f"{kind} {sparsity}" in cell["speed_up"]
    ]
    return [place for place, _ in points], [value for _, value in points]
