import json

import pytest

from lpss.report.page import charts

LAYERS = [["fc1", "linear", "(8, 4)", 1.1, 32, 0.1, 0.12, 0.88, 0.7], ["head", "head", "(2, 8)", "", 16, 1, 1, 0, ""]]


@pytest.fixture
def data(page_of, read_page):
    return lambda: read_page(page_of()).data


def test_a_cell_has_what_its_charts_need_and_names_its_runs(write_seeds, data):
    write_seeds([0.9, 0.8], wall_time_s=4.0)
    write_seeds(
        [0.95, 0.97], method="dense", sparsity=None, sparsity_weights=0, wall_time_s=8.0, train_flops_relative=1
    )
    write_seeds([0.99], method="lpss", sparsity_weights=0.5)
    found = data()
    dense, few, missed = found["cells"]
    assert few == {
        "block": 0, "method": 1, "sparsity": 0.9, "mean": 0.85, "std": 0.0707107, "reached": 0.9, "missed": False,
        "flops": 0.3, "time": 0.5, "seconds": 4.0, "runs": few["runs"],
    }  # fmt: skip
    assert [found["runs"][run][3] for run in few["runs"]] == [0.9, 0.8] and dense["sparsity"] == 0 and missed["missed"]
    assert [one["dense"] for one in found["methods"]] == [True, False, False]


def test_curves_are_means_and_ranges_over_the_seeds_that_count(write_seeds, write_run, write_metrics, data):
    for folder, accuracies in zip(write_seeds([0.9, 0.9]), ([0.1, 0.5], [0.3, 0.7, 0.9]), strict=True):
        write_metrics(folder, accuracies, train_loss=1.5)
    write_metrics(write_run("lost", seed=2, status="diverged"), [0.0, 0.0])
    (curve,) = data()["epochs"]
    assert curve["epochs"] == [1, 2, 3]
    assert curve["eval_accuracy"] == [[0.2, 0.6, 0.9], [0.1, 0.5, 0.9], [0.3, 0.7, 0.9]]
    assert curve["train_loss"] == [[1.5] * 3] and "explored" not in curve  # alike; not recorded


def test_long_curves_keep_their_ends_and_many_of_them_stay_small(write_run, write_metrics, data, monkeypatch):
    for seed, method in enumerate(("set", "rigl", "snip")):
        write_metrics(write_run(method=method, seed=seed), [0.5 + i / 2000 for i in range(1000)])
    curves = data()["epochs"]
    assert {len(curve["epochs"]) for curve in curves} == {charts.MOST_POINTS}
    assert all(curve["epochs"][0] == 1 and curve["epochs"][-1] == 1000 for curve in curves)
    monkeypatch.setattr(charts, "ALL_POINTS", 60)
    assert {len(curve["epochs"]) for curve in data()["epochs"]} == {20}
    monkeypatch.setattr(charts, "ALL_POINTS", 1)
    assert {len(curve["epochs"]) for curve in data()["epochs"]} == {charts.LEAST_POINTS}


def test_layers_are_in_the_order_of_the_net_and_means_over_seeds(write_run, data):
    for seed, reached in enumerate((0.8, 0.9)):
        write_run(seed=seed, layers=[[*LAYERS[0][:7], reached, 0.7], LAYERS[1]])
    (profile,) = data()["layers"]
    assert profile["names"] == ["fc1", "head"] and profile["sparsity_reached"] == [0.85, 0]
    assert profile["hoyer_sparsity"] == [0.7, None]


def test_a_damaged_file_costs_its_run_alone(write_run, write_metrics, data, caplog):
    write_metrics(write_run(seed=0), [0.5])
    (write_run(seed=1) / "metrics.csv").write_bytes(b"\xff\xfe\x00epoch")
    assert data()["epochs"][0]["eval_accuracy"] == [[0.5]] and "metrics.csv" in caplog.text


def test_all_runs_are_listed_with_whole_and_missing_numbers(write_run, data):
    write_run("a", seed=3, status="failed", accuracy_last=None, accuracy_best_epoch=None, wall_time_s=None)
    (run,) = data()["runs"]
    assert json.dumps(run[:-1]) == '[0, 3, "failed", null, 0.92, null, 0.9, 0.3, null]' and run[-1].endswith("/a")
