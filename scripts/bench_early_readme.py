"""The section on early.csv in outputs/bench/README.md."""

import json
from collections import defaultdict
from statistics import mean, stdev

import pandas as pd
from bench_tables import table

NAMES = ("start_sparsity", "begin", "end")


def section(runs: pd.DataFrame) -> str:
    """Accuracy against time of LpSS, by how early it becomes sparse."""
    groups: dict[tuple, list] = defaultdict(list)
    for _, run in runs.iterrows():
        config = json.loads(run["config"])
        method, train = config["method"], config["train"]
        place = (train.get("backend", "dense"), *(method[name] for name in NAMES))
        groups[place].append(run)
    lines = []
    for (backend, start, begin, end), rows in groups.items():
        accuracy = [row["accuracy_last"] for row in rows]
        spread = f" ± {stdev(accuracy):.4f}" if len(rows) > 1 else ""
        seconds = mean(row["wall_time_s"] for row in rows)
        flops = mean(row["train_flops_relative"] for row in rows)
        reached = mean(row["sparsity_weights"] for row in rows)
        places = [f"{start:g}", f"{begin:g} to {end:g}", backend, f"{mean(accuracy):.4f}{spread}", str(len(rows))]
        lines.append((start, begin, backend, [*places, f"{reached:.3f}", f"{flops:.2f}", f"{seconds:.1f}"]))
    lines.sort(key=lambda line: (line[2] != "dense", line[0], -line[1]))
    head = ["start sparsity", "updates", "backend", "validation accuracy", "n", "reached", "train FLOPs", "seconds"]
    first = runs.iloc[0]
    return f"""## Sparse from earlier on

[early.csv](early.csv): {first["device_name"]}; commit {first["git_commit"][:7]}. To measure again:

    python scripts/early_sparsity.py --dataset {first["dataset"]} --sparsity {first["sparsity"]:g}

LpSS is dense for much of its run, and gains from sparse products only later. What it gains in time and loses in
accuracy by being sparse earlier: {first["dataset"]}, sparsity {first["sparsity"]:g}, {first["epochs"]:g} epochs,
settings of `experiment={first["experiment"]}`, a tenth of the training set held out. The first row computes under
`train.backend=dense`, with the experiment's own start sparsity and part of training with updates; the others under
`auto`. One run after the other.

{table(head, [cells for *_, cells in lines], left=3)}"""
