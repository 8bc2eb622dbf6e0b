import csv
import json

import pytest

RUN = {
    "schema": 1, "status": "finished", "experiment": "digits-mlp", "dataset": "digits", "model": "mlp",
    "method": "set", "optimizer": "sgd", "sparsity": 0.9, "seed": 0, "p": None, "accuracy_last": 0.9,
    "accuracy_best": 0.92, "accuracy_best_epoch": 3, "evaluated_on": "test", "loss_last": 0.3, "epochs": 5,
    "steps": 100, "sparsity_weights": 0.9, "sparsity_all_parameters": 0.89, "parameters": 1000,
    "maskable_weights": 900, "active_weights": 90, "train_flops_relative": 0.3,
    "inference_flops_relative": 0.12, "wall_time_s": 3.5, "peak_memory_bytes": None,
    "device": "cpu", "device_name": "a cpu",
    "versions": {"lpss": "0.1.0", "torch": "2.6.0"}, "git_commit": "abcdef1234", "config_hash": None,
    "config": None, "warnings": [], "started": "2026-01-01T00:00:00+00:00",
    "finished": "2026-01-01T00:10:00+00:00",
}  # fmt: skip
LAYER = ["layer", "role", "shape", "p", "weights", "density_requested", "density_reached", "sparsity_reached",
         "hoyer_sparsity"]  # fmt: skip


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
            with open(folder / "layers.csv", "w", newline="") as file:
                csv.writer(file).writerows([LAYER, *layers])
        return folder

    return write


@pytest.fixture
def write_seeds(write_run):
    """Write one run for each accuracy, with seeds 0, 1, ..."""

    def write(accuracies, name=None, **fields):
        return [
            write_run(name and f"{name}/seed{seed}", seed=seed, accuracy_last=accuracy, **fields)
            for seed, accuracy in enumerate(accuracies)
        ]

    return write
