"""Configs and sweeps without Hydra's command line."""

import pytest
import yaml

from lpss.cli.compose import compose_run, compose_sweep, config_folder
from lpss.errors import UsageError


def test_a_run_is_composed_as_on_the_command_line():
    config = compose_run(["experiment=fig3", "optimizer=lpsgd", "optimizer.p=2.5"])
    assert config.optimizer["name"] == "lpsgd" and config.optimizer["p"] == 2.5 and config.model["name"] == "cnn_mnist"
    with pytest.raises(UsageError, match="no_such"):
        compose_run(["dataset=no_such"])


def test_a_sweep_is_every_combination_its_file_names():
    runs = compose_sweep("fig4_short")
    with open(f"{config_folder()}/experiment/fig4.yaml") as file:
        params = yaml.safe_load(file)["hydra"]["sweeper"]["params"]
    assert [run[1:] for run in runs] == [
        (f"optimizer={optimizer}", f"optimizer.p={p}")
        for optimizer in params["optimizer"].split(",")
        for p in params["optimizer.p"].split(",")
    ]
    assert {run[0] for run in runs} == {"experiment=fig4_short"}
    assert len({str(compose_run(run).optimizer) for run in runs}) == len(runs) == 8


def test_lists_and_single_values_are_swept_as_they_are():
    runs = compose_sweep("fig10_short/mlp")
    hidden = [compose_run(run).model["hidden"] for run in runs]
    assert hidden[0] == [64, 32, 16, 8, 4] and hidden[-1] == [1024, 512, 256, 128, 64] and len(runs) == 15
    assert all(compose_run(run).model["width"] is None for run in runs[:1])


def test_an_experiment_without_a_sweep_is_one_run():
    assert compose_sweep("table4/letter") == [("experiment=table4/letter",)]
    with pytest.raises(UsageError, match="no_such"):
        compose_sweep("no_such")
