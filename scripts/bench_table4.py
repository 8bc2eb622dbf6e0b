#!/usr/bin/env python3
"""How long Table 4's tabular (UCI) data sets take under train.backend=dense and auto, and whether results agree.

    python scripts/bench_table4.py [--seeds 0] [--folder outputs/backends] [--json outputs/bench/table4.json]

Trains every run of both tables (scripts/reproduce_table4.py) under each backend, one after the other, so that other
load hits them alike: with two workers, beside each other. Runs that have ended are kept in FOLDER, so that the same
command goes on where it was stopped. Times are those of the runs, from their first step to their last, with evaluation.
Accuracies at the highest sparsity are compared with the spread over seeds of the committed results
(outputs/table4/results.csv).
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch
from benchmark import write_json
from reproduce_table4 import TABLES, UCI, planned
from table4 import METHODS, words

from lpss.cli.progress import train
from lpss.report.collect import collect
from lpss.train.environment import usable_cores

COMMITTED = Path(__file__).resolve().parents[1] / "outputs" / "table4" / "results.csv"
CELL = ["experiment", "dataset", "method", "sparsity"]
BACKENDS = ("dense", "auto")


def main() -> int:
    """Train, compare, and write the json; returns 1 if a run has failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for all runs")
    parser.add_argument("--tables", type=words, default=list(TABLES))
    parser.add_argument("--datasets", type=words, default=list(UCI))
    parser.add_argument("--methods", type=words, default=list(METHODS))
    parser.add_argument("--sparsities", type=words, default=["0.5", "0.8", "0.9"])
    parser.add_argument("--seeds", type=words, default=["0"])
    parser.add_argument("--workers", type=int, default=usable_cores(), help="runs at once, one thread each")
    parser.add_argument("--folder", type=Path, default=Path("outputs/backends"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    failed = [outcome for outcome in train(paired(args), args.workers) if outcome.result is None]
    runs = {backend: collect(args.folder / backend / "runs") for backend in BACKENDS}
    both = set(runs["dense"]["config_hash"]) & set(runs["auto"]["config_hash"])
    runs = {backend: frame[frame["config_hash"].isin(both)] for backend, frame in runs.items()}
    facts = {"seeds": args.seeds, "workers": args.workers, "times": times(runs)}
    facts["agreement"] = agreement(runs, collect(COMMITTED))
    print(facts["times"], facts["agreement"], sep="\n")
    if args.json:
        write_json(args.json, torch.device("cpu"), facts)
    return 1 if failed else 0


def paired(args: argparse.Namespace) -> list[list[str]]:
    """The overrides of every run, once for each backend."""
    by_backend = []
    for backend in BACKENDS:
        place = vars(args) | {
            "output": args.folder / backend,
            "overrides": [*args.overrides, f"train.backend={backend}"],
        }
        by_backend.append(planned(argparse.Namespace(**place), args.datasets))
    return [run for pair in zip(*by_backend, strict=True) for run in pair]


def times(runs: dict[str, pd.DataFrame]) -> list[dict]:
    """A row for each data set and method, and for all of them: seconds under each backend."""
    both = pd.concat([frame.assign(backend=backend) for backend, frame in runs.items()])
    rows = []
    for by in ("dataset", "method"):
        table = both.pivot_table("wall_time_s", by, "backend", aggfunc="sum")
        rows += [{"by": by, "name": name, **seconds} for name, seconds in table.round(1).to_dict("index").items()]
    total = both.groupby("backend")["wall_time_s"].sum().round(1).to_dict()
    return [*rows, {"by": "all", "name": "all", "runs": len(runs["dense"]), **total}]


def agreement(runs: dict[str, pd.DataFrame], committed: pd.DataFrame) -> dict:
    """Of the cells at the highest sparsity: how far accuracies under the backends are apart, beside the standard
    deviation of the committed seeds."""
    highest = max(runs["dense"]["sparsity"])
    means = {backend: frame.groupby(CELL)["accuracy_last"].mean() for backend, frame in runs.items()}
    spread = committed.groupby(CELL)["accuracy_last"].std()
    cells = pd.DataFrame(means | {"std": spread}).dropna().reset_index()
    cells = cells[cells["sparsity"] == highest]
    apart = (cells["auto"] - cells["dense"]).abs()
    return {
        "sparsity": highest,
        "cells": len(cells),
        "within_one_std": int((apart <= cells["std"]).sum()),
        "within_two_std": int((apart <= 2 * cells["std"]).sum()),
        "mean_difference": round(float((cells["auto"] - cells["dense"]).mean()), 5),
        "mean_std": round(float(cells["std"].mean()), 5),
        "largest": round(float(apart.max()), 4),
        "beyond_two_std": cells[apart > 2 * cells["std"]].round(5).to_dict("records"),
    }


if __name__ == "__main__":
    sys.exit(main())
