#!/usr/bin/env python3
"""How long Table 4's tabular (UCI) data sets take under train.backend=dense and auto, and whether results agree.

    python scripts/bench_table4.py [--seeds 0] [--folder outputs/backends] [--json outputs/bench/table4.json]

Trains both tables (scripts/reproduce_table4.py) under one backend and then under the other; nothing else should run
meanwhile. Runs that have ended are kept in FOLDER, so that the same command goes on where it was stopped. Times are
those of the runs, from their first step to their last, with evaluation. Accuracies at the highest sparsity are compared
with the spread over seeds of the committed results (outputs/table4/results.csv).
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
from benchmark import write_json
from reproduce_table4 import UCI

from lpss.report.collect import collect

SCRIPTS = Path(__file__).resolve().parent
COMMITTED = SCRIPTS.parent / "outputs" / "table4" / "results.csv"
CELL = ["experiment", "dataset", "method", "sparsity"]
BACKENDS = ("dense", "auto")


def main() -> int:
    """Train, compare, and write the json; returns the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--datasets", default=",".join(UCI))
    parser.add_argument("--folder", type=Path, default=Path("outputs/backends"))
    parser.add_argument("--json", type=Path)
    args, overrides = parser.parse_known_args()
    for backend in BACKENDS:
        command = [sys.executable, SCRIPTS / "reproduce_table4.py", "--seeds", args.seeds, "--datasets", args.datasets]
        command += ["--output", args.folder / backend, f"train.backend={backend}", *overrides]
        if code := subprocess.run(command).returncode:
            return code
    runs = {backend: collect(args.folder / backend / "results.csv") for backend in BACKENDS}
    facts = {"seeds": args.seeds, "times": times(runs), "agreement": agreement(runs, collect(COMMITTED))}
    print(facts["times"], facts["agreement"], sep="\n")
    if args.json:
        write_json(args.json, torch.device("cpu"), facts)
    return 0


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
