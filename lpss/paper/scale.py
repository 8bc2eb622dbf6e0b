"""Fig 10: the largest sparsity that LpSS reaches at one p, against the number of parameters."""

import json

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lpss.paper.common import fan_in, new_figure, source
from lpss.report.collect import layers_of
from lpss.report.looks import COLOURS, MARKERS
from lpss.report.names import DATASETS
from lpss.theory import natural_sparsity


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each run: parameters, p, sparsity reached and predicted (by `natural_sparsity` for Gaussian inputs, all
    layers together), test accuracy of the last epoch.
    """
    layers, rows = layers_of(runs), []
    for run in runs.sort_values(["dataset", "parameters", "seed"]).to_dict("records"):
        zeta_w = json.loads(run["config"])["method"]["zeta_w"]
        own = layers[layers["folder"] == run["folder"]]
        rows.append(
            {
                **source(run),
                "parameters": run["parameters"],
                "p": run["p"],
                "sparsity": run["sparsity"],
                "sparsity_weights": run["sparsity_weights"],
                "predicted": predicted(own, zeta_w),
                "accuracy_last": run["accuracy_last"],
            }
        )
    return pd.DataFrame(rows)


def predicted(layers: pd.DataFrame, zeta_w: float) -> float:
    """Natural sparsity of a net with these rows of layers.csv, weighted by their sizes; off the sphere p = 2."""
    p = pd.to_numeric(layers["p"], errors="coerce").fillna(2.0)
    sparsities = [natural_sparsity(fan_in(shape), p, zeta_w) for shape, p in zip(layers["shape"], p, strict=True)]
    return float((layers["weights"] * sparsities).sum() / layers["weights"].sum())


def draw(table: pd.DataFrame) -> Figure:
    figure = new_figure(9.6, 3.9, table)
    left, right = figure.subplots(1, 2)
    for i, ((dataset, model), rows) in enumerate(table.groupby(["dataset", "model"], sort=False)):
        label = f"{DATASETS.get(dataset, dataset)}, {model}"
        _draw(left, rows, "sparsity_weights", COLOURS[i], MARKERS[i], f"{label}: reached")
        cells = rows.groupby("parameters")["predicted"].mean()
        left.plot(cells.index, cells, ":", color=COLOURS[i], label=f"{label}: the drop rule alone, predicted")
        _draw(right, rows, "accuracy_last", COLOURS[i], MARKERS[i], label, times=100)
    for axes, title in ((left, "a"), (right, "b")):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("Parameters")
        axes.set_title(title, loc="left", weight="bold")
        axes.legend(frameon=False, fontsize=8)
    left.set_ylabel(f"Largest sparsity reached at p = {'/'.join(sorted(set(table['p'].astype(str))))}")
    right.set_ylabel("Test accuracy after the last epoch (%)")
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, column: str, colour: str, marker: str, label: str, times: float = 1) -> None:
    cells = rows.groupby("parameters")[column]
    deviation = times * cells.std(ddof=1) if cells.size().min() > 1 else None
    mean = times * cells.mean()
    axes.errorbar(mean.index, mean, deviation, color=colour, marker=marker, capsize=3, label=label)
