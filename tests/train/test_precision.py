"""Runs with train.precision=auto: what it comes to, in records and checkpoints."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

from lpss.config import TrainConfig, plain_config
from lpss.errors import UsageError
from lpss.train import precision as precision_module
from lpss.train.compute import ComputeOptions
from lpss.train.distributed import SINGLE_PROCESS
from lpss.train.precision import settle
from lpss.train.resolve import resolve
from lpss.train.run import run

SMALL = (
    *("dataset=synthetic", "dataset.train_size=240", "dataset.test_size=60", "device=cpu", "threads=1"),
    *("train.epochs=2", "train.batch_size=30", "method=dense", "train.precision=auto", "train.backend=auto"),
    *("dataset.image_shape=[1,8,8]", "model=wrn", "model.depth=8", "model.width=1"),
)


@pytest.fixture
def faster(monkeypatch):
    """The precision that is found to be faster from now on, and how it was asked for."""

    class Faster:
        answer, asked = "bfloat16", []

        def precision(self, net, example, batch, *, fused):
            self.asked = [*self.asked, (tuple(example.shape), batch, fused)]
            return self.answer

    faster = Faster()
    monkeypatch.setattr(precision_module, "faster_precision", faster.precision)
    return faster


def weights(config):
    return load_file(resolve(copy.deepcopy(config)).folder / "weights.safetensors")


def same(a, b) -> bool:
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_auto_is_what_is_faster_bit_by_bit_and_recorded(composed, tmp_path, faster, name):
    faster.answer = name
    config = composed(*SMALL, f"output={tmp_path / 'auto'}")
    result = run(copy.deepcopy(config))
    assert result["modes"]["precision"] == result["config"]["train"]["measured_precision"] == name
    assert result["config"]["train"]["precision"] == "auto"
    assert faster.asked == [((1, 1, 8, 8), 30, True)]
    plain = composed(*SMALL, f"train.precision={name}", f"output={tmp_path / 'plain'}")
    assert run(copy.deepcopy(plain))["config"]["train"]["measured_precision"] is None
    assert same(config, plain) and len(faster.asked) == 1


@pytest.mark.parametrize(
    "settings, fused", [(["train.backend=dense"], False), (["train.compile=true"], False), ([], True)]
)
def test_it_is_measured_with_norms_as_they_will_be(composed, faster, settings, fused):
    faster.answer = "float32"
    run(composed(*SMALL, "train.max_steps=1", *settings))
    assert [asked[2] for asked in faster.asked] == [fused]


@pytest.mark.parametrize("step", [5, 12])
def test_an_interrupted_run_goes_on_bitwise_in_the_precision_it_began_with(
    composed, tmp_path, interrupted, faster, step
):
    whole, cut = (composed(*SMALL, f"output={tmp_path / name}") for name in ("whole", "cut"))
    run(copy.deepcopy(whole))
    interrupted(cut, step)
    faster.answer = "float32"  # whatever is measured then
    result = run(copy.deepcopy(cut))
    assert result["modes"]["precision"] == result["config"]["train"]["measured_precision"] == "bfloat16"
    assert same(whole, cut)


def test_a_record_is_repeated_in_its_precision_and_nothing_is_measured(composed, tmp_path, faster):
    first = composed(*SMALL, f"output={tmp_path / 'first'}")
    run(copy.deepcopy(first))
    record = json.loads((resolve(copy.deepcopy(first)).folder / "run.json").read_text())
    faster.answer, faster.asked = "float32", []
    again = plain_config(record["config"] | {"output": str(tmp_path / "again")})  # as lpss-train --from does
    run(copy.deepcopy(again))
    assert not faster.asked and same(first, again)


def test_auto_is_a_setting_of_its_own_what_it_comes_to_is_none(composed):
    auto, other = composed(*SMALL), composed(*SMALL)
    other.train.measured_precision = "bfloat16"
    assert resolve(auto).hash == resolve(other).hash != resolve(composed(*SMALL, "train.precision=float32")).hash


def test_on_a_gpu_it_is_float32(faster):
    train = TrainConfig(precision="auto")
    modes = ComputeOptions.choose(train, torch.device("cuda"), steps=10)
    assert not modes.channels_last
    example = torch.empty(1, 3, 4, 4, device="meta")
    assert settle(modes, train, torch.nn.Identity(), example, SINGLE_PROCESS).precision == "float32"
    assert train.measured_precision == "float32" and not faster.asked


def test_the_first_process_decides_for_all(faster):
    class Second:
        is_main, size = False, 2

        def broadcast_object(self, value):
            assert value is None
            return "bfloat16"

    train = TrainConfig(precision="auto")
    modes = ComputeOptions.choose(train, torch.device("cpu"), steps=10, processes=2)
    found = settle(modes, train, torch.nn.Identity(), torch.ones(1, 3), Second())
    assert found.precision == train.measured_precision == "bfloat16" and not faster.asked


def test_a_wrong_record_is_refused(composed):
    message = "train.measured_precision must be float32, bfloat16 or null, got 'auto'"
    with pytest.raises(UsageError, match=message):
        composed(*SMALL, "train.measured_precision=auto")
