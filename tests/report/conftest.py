import json

import pandas as pd
import pytest

from lpss.record import LAYER_FIELDS
from lpss.report.collect import collect

RUN = {
    "schema": 1, "status": "finished", "experiment": "digits-mlp", "dataset": "digits", "model": "mlp",
    "method": "set", "optimizer": "sgd", "sparsity": 0.9, "seed": 0, "p": None, "accuracy_last": 0.9,
    "accuracy_best": 0.92, "accuracy_best_epoch": 3, "evaluated_on": "test", "loss_last": 0.3, "epochs": 5,
    "steps": 100, "sparsity_weights": 0.9, "sparsity_all_parameters": 0.89, "sparsity_own": None,
    "parameters": 1000, "maskable_weights": 900, "active_weights": 90, "train_flops_relative": 0.3,
    "inference_flops_relative": 0.12, "wall_time_s": 3.5, "peak_memory_bytes": None,
    "device": "cpu", "device_name": "a cpu",
    "versions": {"lpss": "0.1.0", "torch": "2.6.0"}, "git_commit": "abcdef1234", "config_hash": None,
    "config": None, "warnings": [], "started": "2026-01-01T00:00:00+00:00",
    "finished": "2026-01-01T00:10:00+00:00",
}  # fmt: skip
LAYER = [
    "layer",
    "role",
    "shape",
    "p",
    "weights",
    "density_requested",
    "density_reached",
    "sparsity_reached",
    "hoyer_sparsity",
]


@pytest.fixture
def write_run(tmp_path):
    """Write a run folder below tmp_path/outputs and return it; its hash and config follow its settings."""

    def write(name=None, layers=None, **fields):
        run = {**RUN, **fields}
        if name is None:
            name = f"{run['dataset']}/{run['method']}-s{run['sparsity']}/seed{run['seed']}"
        if "config" not in fields:
            run["config"] = {"seed": run["seed"], "method": {"name": run["method"]}}
        if "config_hash" not in fields:
            run["config_hash"] = name
        folder = tmp_path / "outputs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(run))
        if layers:
            rows = pd.DataFrame(layers, columns=LAYER).reindex(columns=list(LAYER_FIELDS))
            rows.to_csv(folder / "layers.csv", index=False)
        return folder

    return write


@pytest.fixture
def sweep(tmp_path, write_run):
    """The runs of three methods on three data sets at two sparsities with two seeds; LpSS is the best throughout."""
    for i, dataset in enumerate(("adult", "dna", "letter")):
        for sparsity in (0.5, 0.9):
            for j, method in enumerate(("set", "rigl", "lpss")):
                for seed in (0, 1):
                    write_run(
                        dataset=dataset,
                        method=method,
                        sparsity=sparsity,
                        sparsity_weights=sparsity,
                        seed=seed,
                        accuracy_last=0.7 + 0.05 * i + 0.02 * j + 0.001 * seed * j,
                    )
    return collect(tmp_path / "outputs")


@pytest.fixture
def write_seeds(write_run):
    """Write one run for each accuracy, with seeds 0, 1, ..."""

    def write(accuracies, name=None, **fields):
        return [
            write_run(name and f"{name}/seed{seed}", seed=seed, accuracy_last=accuracy, **fields)
            for seed, accuracy in enumerate(accuracies)
        ]

    return write
