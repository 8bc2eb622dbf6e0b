"""MLflow's own: odd names and folders, large nets, other stores, several processes at once."""

import math

import pandas as pd
import pytest
from PIL import Image

from lpss.errors import UsageError

mlflow = pytest.importorskip("mlflow")
from lpss.trackers.mlflow import MLflow  # noqa: E402


@pytest.fixture
def begun(output, told):
    """begun(id, config...) -> a tracker that has started, in the database that all tests share."""

    def start(id: str, **config) -> MLflow:
        tracker = MLflow(MLflow.Config())
        assert tracker.start(told(output, **config), id, 0) == 0
        return tracker

    return start


def test_names_and_numbers_that_mlflow_does_not_take_as_they_are(begun):
    tracker = begun("odd", **{"optimizer.p.stages.*": 1.3, "plugins": "é" * 9000})
    tracker.log(1, {"epoch": 1, "sparsity/stages.0.conv[1]é": 0.5, "train_loss": math.nan, "lr": math.inf})
    data = tracker.client.get_run(tracker.run_id).data
    assert data.metrics["sparsity/stages.0.conv_1__"] == 0.5 and data.metrics["lr"] > 1e300
    assert math.isnan(data.metrics["train_loss"]) and data.params["optimizer.p.stages._"] == "1.3"


def test_more_layers_and_settings_than_one_call_takes(begun):
    tracker = begun("large", **{f"optimizer.p.layer{i}": i for i in range(250)})
    tracker.log(1, {"epoch": 1} | {f"sparsity/layer{i}": i / 3000 for i in range(3000)})
    data = tracker.client.get_run(tracker.run_id).data
    assert len(data.metrics) == 3001 and len(data.params) == 250


def test_what_it_holds_counts_not_what_was_noted(begun, output, told):
    """After a kill between an epoch and the note of it, and where the database was removed."""
    begun("again").log(3, {"epoch": 3})
    assert MLflow(MLflow.Config()).start(told(output), "again", 2) == 3
    assert MLflow(MLflow.Config()).start(told(output), "never seen", 2) == 0


def test_the_uri_comes_from_the_option_or_the_environment(output, told, tmp_path, monkeypatch):
    database = f"sqlite:///{output / 'mlflow' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    for uri in (None, database):
        tracker = MLflow(MLflow.Config(uri, experiment="other"))
        tracker.start(told(tmp_path), f"uri {uri}", 0)
        assert tracker.client.get_experiment_by_name("other")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not list(tmp_path.iterdir())


def test_an_output_folder_whose_name_means_something_in_a_url(tmp_path, told):
    for name in ("a%20b", "a?b"):
        with pytest.raises(UsageError, match="name another with tracker.mlflow.uri"):
            MLflow(MLflow.Config()).start(told(tmp_path / name), "id", 0)
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.slow
def test_an_output_folder_with_another_odd_name(tmp_path, told):
    tracker, name = MLflow(MLflow.Config()), "été #1 & 2"
    tracker.start(told(tmp_path / name), "id", 0)
    tracker.log_result({"result/steps": 3}, pd.DataFrame({"layer": ["a"]}), Image.new("RGB", (2, 2)))
    tracker.close("finished")
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name / "mlflow" / "mlflow.db").is_file()
    assert {path.name for path in (tmp_path / name).rglob("artifacts/*/artifacts/*")} == {"layers.csv", "run.png"}


@pytest.mark.slow
def test_processes_that_need_a_new_database_at_once(tmp_path, python):
    few = ("dataset=synthetic", "train.epochs=1", "train.max_steps=2", "tracker=mlflow", f"output={tmp_path}")
    commands = [("-m", "lpss.cli.train", *few, f"seed={seed}") for seed in range(3)]
    done = python.together(*commands, cwd=tmp_path)
    assert not any(one.returncode or "switched off" in one.stderr for one in done), [one.stderr for one in done]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("lpss").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert not (tmp_path / "mlruns").exists()
