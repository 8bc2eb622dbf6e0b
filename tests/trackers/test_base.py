"""What trackers are told, in plain values."""

import math

from lpss.trackers.base import NUMBERS, epoch_metrics, flat, result_numbers


def test_a_config_is_flat_numbers_and_text():
    config = {
        "train": {"epochs": 3, "max_steps": None, "limits": {}},
        "p": {0.5: 1.3},
        "plugins": ["a", "é"],
        "on": True,
    }
    assert flat(config) == {
        "train.epochs": 3,
        "train.max_steps": "",
        "train.limits": "{}",
        "p.0.5": 1.3,
        "plugins": '["a", "é"]',
        "on": True,
    }


def test_metrics_of_an_epoch_are_its_row_and_each_layers():
    layers = [{"layer": "a", "sparsity_reached": 0.9, "hoyer_sparsity": 0.5, "role": "head"}]
    layers += [{"layer": "", "sparsity_reached": 0.8, "hoyer_sparsity": math.nan}]  # a net that is one layer
    metrics = epoch_metrics({"epoch": 2, "lr": 0.1}, layers)
    assert math.isnan(metrics.pop("hoyer_sparsity/net"))
    assert metrics == {"epoch": 2, "lr": 0.1, "sparsity/a": 0.9, "hoyer_sparsity/a": 0.5, "sparsity/net": 0.8}


def test_results_are_the_numbers_that_there_are():
    result = {"status": "finished", "seed": 3, "accuracy_last": 0.5, "loss_last": math.nan, "sparsity_own": None}
    assert result_numbers(result | {"steps": 7, "wall_time_s": 1.5}) == {
        "result/accuracy_last": 0.5,
        "result/steps": 7,
        "result/wall_time_s": 1.5,
    }
    assert not {"seed", "sparsity", "started", "status", "processes"} & set(NUMBERS)
