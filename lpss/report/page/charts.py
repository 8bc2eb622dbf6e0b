"""What the charts are drawn from, as plain values for JSON: methods, blocks, cells, epochs, layers, runs."""

import pandas as pd

from lpss.report.looks import Look
from lpss.report.page.cells import Cells, number, numbers
from lpss.report.tables import on_target

# Column of metrics.csv or layers.csv -> what a chart calls it.
OF_EPOCHS = {
    "eval_accuracy": "accuracy",
    "train_loss": "training loss",
    "sparsity_weights": "sparsity",
    "hoyer_sparsity": "Hoyer's sparsity",
    "explored": "weights explored",
}
OF_LAYERS = {"sparsity_reached": "sparsity", "hoyer_sparsity": "Hoyer's sparsity"}
# Points of a curve, at most; fewer where there are many curves, so that all of them together stay small.
MOST_POINTS, LEAST_POINTS, ALL_POINTS = 60, 12, 16_000


def chart_data(cells: Cells, metrics: pd.DataFrame, layers: pd.DataFrame) -> dict:
    """The page's JSON. Methods, blocks, cells and runs are known by their places in their lists."""
    return {
        "methods": [
            {"name": label, "kind": kind, "dense": cells.looks[kind] is None, **_look(cells.looks[kind])}
            for label, kind in cells.kinds.items()
        ],
        "blocks": cells.blocks,
        "cells": _cells(cells),
        "measures": {"epochs": OF_EPOCHS, "layers": OF_LAYERS},
        "epochs": _epochs(_of_averaged(cells, metrics)),
        "layers": _layers(_of_averaged(cells, layers)),
        "runs": _runs(cells),
    }


def _look(look: Look | None) -> dict:
    return look._asdict() if look else {}


def _cells(cells: Cells) -> list[dict]:
    methods = {label: i for i, label in enumerate(cells.kinds)}
    good = cells.runs[cells.runs["averaged"]]
    members = good.groupby("cell").groups
    seconds = good.groupby("cell")["wall_time_s"].mean()
    return [
        {
            "block": row["block"],
            "method": methods[row["label"]],
            "sparsity": number(row["sparsity"]),
            "mean": number(row["accuracy_mean"]),
            "std": number(row["accuracy_std"]),
            "reached": number(row["sparsity_reached"]),
            "missed": not on_target(row["sparsity"], row["sparsity_reached"]),
            "flops": number(row["train_flops"]),
            "time": number(row["train_time"]),
            "seconds": number(seconds.get(i)),
            "runs": list(map(int, members.get(i, ()))),
        }
        for i, row in enumerate(cells.table.to_dict("records"))
    ]


def _runs(cells: Cells) -> list[list]:
    """All runs: cell, seed, status, accuracy after the last epoch, best accuracy and its epoch, sparsity reached,
    training FLOPs, seconds, folder."""
    whole, columns = ["cell", "seed", "accuracy_best_epoch"], cells.runs.to_dict("list")
    columns |= {name: [None if pd.isna(one) else int(one) for one in columns[name]] for name in whole}
    reals = ("accuracy_last", "accuracy_best", "sparsity_weights", "train_flops_relative", "wall_time_s")
    columns |= {name: numbers(columns[name]) for name in reals}
    order = ("cell", "seed", "status", *reals[:2], "accuracy_best_epoch", *reals[2:], "folder")
    return list(map(list, zip(*(columns[name] for name in order), strict=True)))


def _of_averaged(cells: Cells, files: pd.DataFrame) -> pd.DataFrame:
    """The rows of the runs' files that belong to an averaged run, with its cell."""
    return files.merge(cells.runs.loc[cells.runs["averaged"], ["folder", "cell"]], on="folder")


def _epochs(metrics: pd.DataFrame) -> list[dict]:
    """A curve a cell: epochs, and for each measure mean, lowest and highest over the seeds (mean alone of one)."""
    curves = []
    most = max(LEAST_POINTS, min(MOST_POINTS, ALL_POINTS // max(1, metrics["cell"].nunique())))
    statistics = metrics.groupby(["cell", "epoch"])[list(OF_EPOCHS)].agg(["mean", "min", "max"])
    for cell, table in statistics.groupby(level="cell"):
        shown = table.iloc[_spread(len(table), most)]
        curve = {"cell": int(cell), "epochs": numbers(shown.index.get_level_values("epoch"))}
        for name in OF_EPOCHS:
            lines = [numbers(shown[name, statistic]) for statistic in ("mean", "min", "max")]
            if any(value is not None for value in lines[0]):
                curve[name] = lines if lines[1] != lines[2] else lines[:1]
        curves.append(curve)
    return curves


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` places, from the first to the last of `count`, evenly."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _layers(layers: pd.DataFrame) -> list[dict]:
    """The layers of a cell's nets, from input to output, with the mean of each measure over the seeds."""
    profiles = []
    for cell, table in layers.groupby("cell"):
        means = table.groupby("layer", sort=False)[list(OF_LAYERS)].mean()
        profiles.append(
            {"cell": int(cell), "names": list(means.index)} | {name: numbers(means[name]) for name in means}
        )
    return profiles
