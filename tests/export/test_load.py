"""lpss.load: what a run has trained, ready for use."""

import json
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import lpss
from lpss.data import load as load_data
from lpss.errors import DataError, UsageError
from lpss.export.formats import FORMATS
from lpss.export.load import read
from lpss.export.npz_file import write as write_npz
from lpss.export.safetensors_file import write as write_safetensors
from lpss.export.torch_file import write as write_torch
from lpss.registries import DATASETS, MODELS
from lpss.train.build import build
from lpss.train.weights import load_weights

SOURCES = {
    "folder": lambda run, path: run,
    "run.json": lambda run, path: run / "run.json",
    "weights": lambda run, path: run / "weights.safetensors",
    "safetensors": write_safetensors,
    "npz": write_npz,
    "torch": write_torch,
}


def raw(run):
    """The test split of a run's data set, as it is."""
    return load_data(DATASETS.options(run.run.config.dataset), standardised=False).test


@pytest.mark.parametrize("name", ["table", "columns", "images"])
@pytest.mark.parametrize("source", SOURCES)
def test_the_net_computes_bit_by_bit_what_the_run_did(trained, alike, tmp_path, name, source):
    done = trained(name)
    path = tmp_path / "net"
    path = SOURCES[source](path, read(done.folder)) or path if source in FORMATS else SOURCES[source](done.folder, path)
    net, sparse = lpss.load(path, sparse=False), lpss.load(path)
    assert not net.training and not any(module.training for module in net.modules())
    assert alike(sparse.model.state_dict(), net.model.state_dict())
    parts = build(done.run)
    masks = load_weights(done.folder / "weights.safetensors", parts.net)
    assert alike(net.masks, masks) and alike(net.model.state_dict(), parts.net.state_dict())
    parts.net.eval()
    split, start = raw(done), 0
    with torch.no_grad():
        for x, _ in parts.eval_batches():
            logits = net(split.x[start : start + len(x)])
            assert torch.equal(logits.view(torch.int32), parts.net(x).view(torch.int32))
            torch.testing.assert_close(sparse(split.x[start : start + len(x)]), logits, rtol=1e-5, atol=1e-5)
            start += len(x)
        accuracy = (net(split.x).argmax(1) == split.y).double().mean()
    assert start == len(split) and accuracy == pytest.approx(done.result["accuracy_last"], abs=1e-9)


def test_a_trained_net_is_worth_loading(trained):
    assert trained("table").result["accuracy_last"] > 0.7 and trained("columns").result["accuracy_last"] > 0.7
    assert lpss.load(trained("table").folder).class_names == tuple("0123456789")


@pytest.fixture
def copy(trained, tmp_path):
    """copy(change, name="table") -> a copy of a finished run's folder, its record changed."""

    def make(change: dict | None = None, name: str = "table"):
        folder = tmp_path / "run"
        shutil.copytree(trained(name).folder, folder)
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | (change or {})))
        return folder

    return make


def make_older(folder):
    """As versions before descriptions left it: without metadata, with the sign of a zero off the masks."""
    tensors = load_file(folder / "weights.safetensors")
    for name, mask in list(tensors.items()):
        if name.startswith("mask."):
            key = f"net.{name.removeprefix('mask.')}.weight"
            tensors[key] = torch.where(mask, tensors[key], -0.0)
    save_file(tensors, folder / "weights.safetensors")


@pytest.mark.parametrize("name", ["table", "columns", "images"])
@pytest.mark.parametrize("file", ["", "weights.safetensors"])
def test_an_older_runs_net_is_found_out_from_its_data_set(trained, copy, alike, name, file):
    folder = copy({"files": None}, name)
    make_older(folder)
    contents, now = read(folder / file), read(trained(name).folder)
    assert contents.description == now.description
    assert alike(contents.state, now.state) and alike(contents.masks, now.masks)


def test_an_older_run_whose_data_set_is_gone_is_a_line(trained, copy, tmp_path):
    config = trained("table").result["config"]
    config = config | {"dataset": config["dataset"] | {"name": "letter"}, "data": {"root": str(tmp_path / "none")}}
    config["dataset"].pop("split_seed")
    folder = copy({"files": None, "config": config})
    make_older(folder)
    with pytest.raises(DataError, match="is of before weights said what their net is, and letter: .* is not in"):
        lpss.load(folder)


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "the run has failed, only a finished one"), ("diverged", "the run has diverged, only a finished one")],
)
def test_a_run_without_a_result_is_a_line(copy, status, words):
    with pytest.raises(UsageError, match=words):
        lpss.load(copy({"status": status}))


def test_what_is_no_finished_runs_folder_is_a_line(copy, tmp_path):
    for path, words in ((tmp_path / "none", "there is no such file"), (tmp_path, "it holds no run.json")):
        with pytest.raises(UsageError, match=f"^{re.escape(str(path))}.* {words}|{words}"):
            lpss.load(path)
    folder = copy()
    (folder / "run.json").write_text("{")
    with pytest.raises(UsageError, match="holds a run.json that is no run's record"):
        lpss.load(folder)
    (folder / "run.json").unlink()
    with pytest.raises(UsageError, match="holds a run that has not finished"):
        lpss.load(folder)


def test_damaged_or_lost_weights_are_a_line(copy):
    folder = copy()
    file = folder / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="weights.safetensors is damaged"):
        lpss.load(folder)
    with pytest.raises(DataError, match="weights.safetensors is damaged: its checksum is wrong"):
        lpss.load(file)
    file.unlink()
    with pytest.raises(DataError, match="weights.safetensors is gone"):
        lpss.load(folder)


def test_an_onnx_file_is_no_source(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x0a")
    with pytest.raises(UsageError, match="ONNX files are for other programs"):
        lpss.load(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("name", "x", "words"),
    [
        ("table", torch.zeros(4, 63), r"takes \(batch, 64\) of numbers, not standardised; got \(4, 63\)"),
        ("table", torch.zeros(64), "got "),
        ("images", torch.zeros(4, 1, 28, 28), r"takes \(batch, 1, 28, 28\) of bytes .* got .* of torch.float32"),
        ("images", torch.zeros(4, 3, 28, 28, dtype=torch.uint8), "got "),
    ],
)
def test_examples_that_do_not_fit_are_a_line(trained, name, x, words):
    with pytest.raises(UsageError, match=words):
        lpss.load(trained(name).folder)(x)


def test_numbers_of_any_type_are_taken(trained):
    net = lpss.load(trained("columns").folder)
    x = torch.randint(-3, 3, (5, 20))
    assert torch.equal(net(x), net(x.float())) and torch.equal(net(x), net(x.double()))


def test_loading_draws_no_random_numbers(trained):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    lpss.load(trained("table").folder)
    assert torch.equal(torch.get_rng_state(), before)


PLUGIN = """
from dataclasses import dataclass

from torch import nn

from lpss.registries import MODELS

@MODELS.register("of_a_plugin")
class Own(nn.Sequential):
    @dataclass
    class Config:
        pass

    def __init__(self, config, input_shape, classes):
        super().__init__(nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Linear(8, classes))
"""


def test_a_plugins_net_is_loaded_from_its_run_and_named_by_its_file(composed, tmp_path, monkeypatch):
    from lpss.config import plain_config
    from lpss.train.resolve import resolve
    from lpss.train.run import run

    (tmp_path / "own_model.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    settings = composed("dataset=digits", "train.epochs=1", "method=set").to_dict()
    config = plain_config(settings | {"model": {"name": "of_a_plugin"}, "plugins": ["own_model"]})
    run(config)
    folder = resolve(config).folder

    def forget():
        del MODELS["of_a_plugin"], sys.modules["own_model"]

    forget()
    with pytest.raises(DataError, match="a plugin's: import own_model first, or name the run's folder"):
        lpss.load(folder / "weights.safetensors")
    assert "own_model" not in sys.modules, "a file decides nothing that is imported"
    assert lpss.load(folder)(torch.zeros(1, 64)).shape == (1, 10)
    forget()
