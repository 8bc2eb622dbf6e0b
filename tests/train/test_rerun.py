"""Runs that have ended: skipped, saying what of that which decides them has changed; trained again on request."""

import json
import logging
import signal

import pytest
import torch

from lpss.data import BuiltIn
from lpss.optim import backends
from lpss.record import RunFolder
from lpss.registries import DATASETS
from lpss.train.resolve import resolve
from lpss.train.run import run
from lpss.train.step import TrainStep

SMALL = (
    *("dataset=synthetic", "dataset.train_size=100", "dataset.test_size=50", "train.batch_size=50", "train.epochs=1"),
    *("method=lpss", "sparsity=0.5", "device=cpu"),
)


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level(logging.INFO, logger="lpss")


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def train_again(caplog, config) -> dict:
    caplog.clear()
    return run(config)


def test_nothing_changed_nothing_said(composed, caplog):
    run(composed(*SMALL))
    train_again(caplog, composed(*SMALL))
    assert not warnings(caplog) and "finished before, skipped" in caplog.text


@pytest.mark.parametrize("name", ["weights.safetensors", "layers.csv"])
def test_a_file_that_is_gone_or_damaged_is_said_and_comes_back(composed, caplog, name):
    config = composed(*SMALL)
    first = run(config)
    file = resolve(config).folder / name
    sound = file.read_bytes()
    file.write_bytes(sound[:-3] + bytes([sound[-3] ^ 1]) + sound[-2:])
    train_again(caplog, config)
    (line,) = warnings(caplog)
    assert f"{name} is damaged; train it again with --force" in line
    file.unlink()
    train_again(caplog, config)
    assert f"{name} is gone" in warnings(caplog)[0]
    again = train_again(caplog, composed(*SMALL, "rerun=changed"))
    assert file.read_bytes() == sound and again["accuracy_last"] == first["accuracy_last"]
    train_again(caplog, composed(*SMALL, "rerun=changed"))
    assert not warnings(caplog) and "skipped" in caplog.text


def test_a_record_of_an_earlier_version_is_enough_to_be_skipped(composed, caplog):
    config = composed(*SMALL)
    run(config)
    file = resolve(config).folder / "run.json"
    record = json.loads(file.read_text())
    for name in ("files", "fingerprints", "code_paths"):
        del record[name]
    file.write_text(json.dumps(record))
    train_again(caplog, config)
    assert not warnings(caplog) and "skipped" in caplog.text
    (file.parent / "weights.safetensors").unlink()
    train_again(caplog, config)
    assert "weights.safetensors is gone" in warnings(caplog)[0]


def test_changed_data_are_said(composed, caplog, monkeypatch, tmp_path):
    class Own(BuiltIn):
        name, shape, classes, train, test = "own", (1,), 2, 8, 2

        def parse(self, paths, config):
            values = [float(word) for word in (tmp_path / "mine.txt").read_text().split()]
            return torch.tensor(values).view(10, 1), torch.arange(10) % 2

    monkeypatch.setitem(DATASETS, "own", Own)
    (tmp_path / "mine.txt").write_text(" ".join(map(str, range(10))))
    config = composed(*SMALL, "train.batch_size=4")
    config.dataset = {"name": "own", "model": {"name": "mlp", "hidden": [4]}}
    run(config)
    train_again(caplog, config)
    assert not warnings(caplog)
    (tmp_path / "mine.txt").write_text(" ".join(map(str, range(1, 11))))
    train_again(caplog, config)
    (line,) = warnings(caplog)
    assert "data " in line and " -> " in line and "--force" in line
    (tmp_path / "mine.txt").unlink()

    def parse(self, paths, config):
        from lpss.errors import DataError

        raise DataError("mine.txt is not there")

    monkeypatch.setattr(Own, "parse", parse)
    assert train_again(caplog, config)["status"] == "finished", "data that are gone are nothing to compare with"


def test_a_changed_plugin_is_said(composed, caplog, monkeypatch, tmp_path):
    plugin = tmp_path / "a_plugin_of_mine.py"
    plugin.write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    config = composed(*SMALL, "plugins=[a_plugin_of_mine]")
    record = run(config)
    assert set(record["fingerprints"]) == {"data", "plugin a_plugin_of_mine"}
    plugin.write_text("x = 2\n")
    train_again(caplog, config)
    assert "plugin a_plugin_of_mine" in warnings(caplog)[0]


def test_another_code_path_is_said(composed, caplog, monkeypatch):
    record = run(composed(*SMALL))
    now = backends.expected_code_path("cpu")
    assert record["code_paths"] == {"optimizer step": now, "training step": "eager"}
    other = "tensor code" if now == "C kernel" else "C kernel"
    monkeypatch.setattr("lpss.train.fingerprint.expected_code_path", lambda device: other)
    train_again(caplog, composed(*SMALL))
    assert f"optimizer step {now} -> {other}" in warnings(caplog)[0]


def test_a_run_of_a_device_that_is_not_here_is_skipped_all_the_same(composed, caplog):
    config = composed(*SMALL)
    run(config)
    config.device = "cuda:77"
    assert train_again(caplog, config)["status"] == "finished" and not warnings(caplog)


def test_another_version_is_mentioned_but_no_warning(composed, caplog, monkeypatch):
    run(composed(*SMALL))
    monkeypatch.setattr("lpss.train.run.git_commit", lambda: "f" * 40)
    train_again(caplog, composed(*SMALL))
    assert not warnings(caplog) and f"-> {'f' * 12}" in caplog.text and "changed since: git_commit" in caplog.text


def test_a_forced_run_is_trained_again_and_keeps_the_earlier_record(composed):
    config = composed(*SMALL)
    first = run(config)
    folder = RunFolder(resolve(config).folder)
    again = run(composed(*SMALL, "rerun=always"))
    assert again["finished"] >= first["finished"] and again["config_hash"] == first["config_hash"]
    kept = json.loads((folder.path / "run.previous.json").read_text())
    assert kept["started"] == first["started"] and folder.result()["config"]["rerun"] == "always"


def test_a_forced_run_that_was_interrupted_goes_on_by_the_plain_command(composed, monkeypatch, caplog):
    config = composed(*SMALL)
    first, calls = run(config), iter(range(100))
    step = TrainStep.__call__

    def interrupted(self, *batch):
        if next(calls) == 0:
            signal.raise_signal(signal.SIGTERM)
        step(self, *batch)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(TrainStep, "__call__", interrupted)
        run(composed(*SMALL, "rerun=always"))
    again = train_again(caplog, config)
    assert "resumed after step 1" in caplog.text
    assert again["status"] == "finished" and again["loss_last"] == first["loss_last"]


def test_diverged_runs_can_be_forgotten(composed, caplog):
    settings = (
        *SMALL[:-3],
        "method=static",
        "sparsity=0.5",
        "device=cpu",
        "optimizer.lr=1e12",
        "schedule=constant",
        "train.epochs=4",
    )
    assert run(composed(*settings))["status"] == "diverged"
    train_again(caplog, composed(*settings))
    assert "diverged before, skipped" in caplog.text
    assert train_again(caplog, composed(*settings, "rerun=diverged"))["status"] == "diverged"
    assert "diverged before, trained again (rerun=diverged)" in caplog.text
    run(composed(*SMALL))
    train_again(caplog, composed(*SMALL, "rerun=diverged"))
    assert "finished before, skipped" in caplog.text
