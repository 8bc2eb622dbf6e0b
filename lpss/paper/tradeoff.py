"""Figs 8 and 9: accuracy against sparsity; for Fig 9 also the learning rate over training."""

import json

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpss.paper.common import new_figure, source
from lpss.report.figures import draw_baseline
from lpss.report.looks import COLOURS, MARKERS
from lpss.report.names import DATASETS, METHODS, rank
from lpss.schedules import build_schedule


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each run: method, p, sparsity requested and reached (over maskable weights), test accuracy of the last
    epoch, schedule and peak learning rate (eta where weights are on the sphere).
    """
    rows = []
    for run in sorted(runs.to_dict("records"), key=_order):
        config = json.loads(run["config"])
        rows.append(
            {
                **source(run),
                "method": run["method"],
                "p": run["p"],
                "sparsity": run["sparsity"],
                "sparsity_weights": run["sparsity_weights"],
                "accuracy_last": run["accuracy_last"],
                "schedule": json.dumps(config["schedule"], sort_keys=True),
                "lr": config["optimizer"]["lr"],
            }
        )
    return pd.DataFrame(rows)


def _order(run: dict) -> tuple:
    return rank(run["dataset"], DATASETS), rank(run["method"], METHODS), run["sparsity"], run["seed"]


def draw(table: pd.DataFrame) -> Figure:
    names = list(dict.fromkeys(table["dataset"]))
    figure = new_figure(4.6 * len(names), 3.9, table)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        _draw_accuracy(axes, table[table["dataset"] == name])
        axes.set_title(DATASETS.get(name, name), loc="left", weight="bold")
    return figure


def draw_with_schedule(table: pd.DataFrame) -> Figure:
    figure = new_figure(9.6, 3.9, table)
    left, right = figure.subplots(1, 2)
    _draw_accuracy(left, table)
    left.set_title("a", loc="left", weight="bold")
    progress = np.linspace(0, 1, 401)
    for i, ((text, lr), rows) in enumerate(table.groupby(["schedule", "lr"], sort=False)):
        methods = ", ".join(METHODS.get(name, name) for name in dict.fromkeys(rows["method"]))
        factors = list(map(build_schedule(json.loads(text)), progress))
        right.plot(progress, lr * np.array(factors), color=COLOURS[i], label=methods)
    right.set_xlabel("Progress of training")
    right.set_ylabel("Learning rate (LpSS: eta on the sphere)")
    right.set_ylim(bottom=0)
    right.legend(frameon=False, fontsize=8)
    right.set_title("b", loc="left", weight="bold")
    return figure


def _draw_accuracy(axes: Axes, table: pd.DataFrame) -> None:
    dense, sparse = table[table["method"] == "dense"], table[table["method"] != "dense"]
    if len(dense):
        draw_baseline(axes, dense["accuracy_last"], color="black", label="Dense")
    for i, (method, rows) in enumerate(sparse.groupby("method", sort=False)):
        cells = rows.groupby("sparsity")
        accuracy, deviation = 100 * cells["accuracy_last"].mean(), 100 * cells["accuracy_last"].std(ddof=1)
        axes.errorbar(
            cells["sparsity_weights"].mean(),
            accuracy,
            deviation if cells.size().min() > 1 else None,
            color=COLOURS[i],
            marker=MARKERS[i % len(MARKERS)],
            capsize=3,
            label=METHODS.get(method, method),
        )
    axes.set_xlabel("Sparsity reached (share of maskable weights)")
    axes.set_ylabel("Test accuracy after the last epoch (%)")
    axes.legend(frameon=False, fontsize=8)
