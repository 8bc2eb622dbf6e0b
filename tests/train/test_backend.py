"""Runs with train.backend=sparse and auto: their results, records and checkpoints."""

import copy
import json
import logging

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lpss.config import plain_config
from lpss.engine.norms import FastBatchNorm2d
from lpss.engine.products import code_path
from lpss.errors import LpssError, UsageError
from lpss.native import loader
from lpss.record import EPOCH_TIMES, TIMES, RunFolder
from lpss.sparse.methods import RigL
from lpss.train import backend as backend_module
from lpss.train import run as run_module
from lpss.train.backend import obstacle
from lpss.train.compute import EAGER, ComputeOptions
from lpss.train.resolve import resolve
from lpss.train.run import run

SMALL = (
    *("dataset=synthetic", "dataset.train_size=400", "dataset.test_size=100", "device=cpu", "threads=1"),
    *("train.epochs=2", "train.batch_size=30", "sparsity=0.6", "model.hidden=[24,16]"),
)
LAYERS = ["layers.0", "layers.1", "layers.2"]
IMAGES = ("dataset.image_shape=[1,8,8]", "model=wrn", "model.depth=8", "model.width=1")
# SMALL's models are MLPs, and an image model has no widths.
SMALL_IMAGES = (*(setting for setting in SMALL if "hidden" not in setting), *IMAGES)
OFTEN = "method.update_every=3"


@pytest.fixture
def measured(monkeypatch):
    """How often limits were measured, and what that gives from now on."""

    class Measured:
        calls, answer = 0, {"layers.0": 0.45, "layers.1": 0.0, "layers.2": 1.0}

        def limits(self, net, layers, example, batch, precision):
            self.calls += 1
            assert example.shape[0] == 1 and [layer.name for layer in layers] == LAYERS
            return dict(self.answer)

    measured = Measured()
    monkeypatch.setattr(backend_module, "limits", measured.limits)
    return measured


def files(config) -> tuple:
    """What a run has left, but for times, and for where it was."""
    folder = resolve(copy.deepcopy(config)).folder
    result = {key: value for key, value in json.loads((folder / "run.json").read_text()).items() if key not in TIMES}
    result["config"].pop("output")
    metrics = pd.read_csv(folder / "metrics.csv", dtype=str).drop(columns=list(EPOCH_TIMES)).to_csv()
    return result, metrics, (folder / "layers.csv").read_text(), load_file(folder / "weights.safetensors")


def same(a, b) -> bool:
    return a[:3] == b[:3] and a[3].keys() == b[3].keys() and all(torch.equal(a[3][key], b[3][key]) for key in a[3])


# --- results and records ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SMALL, SMALL_IMAGES], ids=["mlp", "wrn"])
@pytest.mark.parametrize("method", ["rigl", "lpss"])
def test_a_sparse_run_does_what_the_dense_one_does(composed, tmp_path, method, settings):
    settings = (*settings, f"method={method}", OFTEN, "train.max_steps=14")
    dense, sparse = (
        composed(*settings, f"train.backend={name}", f"output={tmp_path / name}") for name in ("dense", "sparse")
    )
    (a, _, layers, weights), (b, _, other_layers, other_weights) = (
        run(config) and files(config) for config in (dense, sparse)
    )
    assert b["loss_last"] == pytest.approx(a["loss_last"], abs=0.02)  # rounding flips a ReLU here and there
    assert b["sparsity_weights"] == a["sparsity_weights"] and b["train_flops_relative"] == pytest.approx(
        a["train_flops_relative"], rel=0.01
    )
    assert [line.split(",")[:5] for line in layers.splitlines()] == [
        line.split(",")[:5] for line in other_layers.splitlines()
    ]
    assert {key: (x.shape, x.dtype) for key, x in weights.items()} == {
        key: (x.shape, x.dtype) for key, x in other_weights.items()
    }
    for key, mask in other_weights.items():
        if key.startswith("mask."):
            assert not other_weights[key.replace("mask.", "net.") + ".weight"][~mask.bool()].any()
    assert a["modes"].items() <= (b["modes"] | {"backend": "dense"}).items()
    assert b["modes"]["backend"] == "sparse" and b["modes"]["products"] == code_path()
    assert b["modes"]["sparse_layers"] == list(dict.fromkeys(line.split(",")[0] for line in layers.splitlines()[1:]))


def test_what_computed_is_recorded(composed, tmp_path, measured, monkeypatch):
    def modes(*settings):
        config = composed(*SMALL, "method=static", "train.max_steps=2", *settings, f"output={tmp_path / str(settings)}")
        return run(config)["modes"]

    assert modes()["backend"] == "dense" and "sparse_layers" not in modes()
    assert modes("train.backend=auto")["sparse_layers"] == ["layers.0", "layers.2"]
    assert modes("train.backend=auto", "sparsity=0.5")["sparse_layers"] == ["layers.2"]  # too dense for a limit of .45
    assert modes("train.backend=sparse", "method=dense")["backend"] == "sparse"
    monkeypatch.setattr(loader, "library", lambda: None)
    assert modes("train.backend=sparse")["products"] == "tensor code"
    assert modes("train.backend=sparse", "sparsity=0.7")["sparse_layers"] == LAYERS


@pytest.mark.parametrize("name, precision, fused", [("dense", "float32", False), ("sparse", "float32", False),
                                                    ("auto", "float32", True), ("auto", "bfloat16", True),
                                                    ("dense", "bfloat16", False)])  # fmt: skip
def test_a_dense_nets_norms_do_the_relu_after_them_under_auto_alone(composed, monkeypatch, name, precision, fused):
    calls, normalize = [], FastBatchNorm2d._normalize
    monkeypatch.setattr(FastBatchNorm2d, "_normalize", lambda *args: calls.append(args[-1]) or normalize(*args))
    settings = ("method=dense", f"train.backend={name}", f"train.precision={precision}", "train.max_steps=2")
    result = run(composed(*SMALL_IMAGES, *settings))
    assert bool(calls) == (fused and loader.library() is not None)
    assert result["modes"].get("sparse_layers", []) == [] and result["modes"]["backend"] == name


def test_backend_and_limits_are_no_part_of_a_runs_identity(composed):
    configs = [composed(*SMALL, f"train.backend={name}") for name in ("dense", "sparse", "auto", "auto")]
    configs[-1].train.limits = {"layers.0": 0.5}
    assert len({resolve(config).hash for config in configs}) == 1


def test_sparse_with_layers_that_stay_dense_is_a_warning_auto_is_not(composed, tmp_path, measured, caplog):
    settings = (*SMALL, "train.max_steps=1")
    run(composed(*settings, "train.backend=auto", f"output={tmp_path / 'a'}"))
    assert not [
        record for record in caplog.records if "layers compute from" in record.message and record.levelname == "WARNING"
    ]
    run(
        composed(*settings, "train.backend=sparse", "method=lpss", "method.grow_init=stale", f"output={tmp_path / 'b'}")
    )
    (line,) = [record.message for record in caplog.records if record.message.startswith("train.backend=sparse")]
    assert "0 of 3 masked layers compute from their active weights alone" in line and "keeps v of inactive" in line


def test_what_the_machine_or_other_settings_do_not_allow_is_said_once(composed, caplog):
    assert obstacle(EAGER, torch.device("cuda"), 1) == "on cuda dense products with masks are faster than sparse ones"
    assert obstacle(EAGER, torch.device("cpu"), 2) == "several processes share the training"
    assert obstacle(ComputeOptions(compile=True), torch.device("cpu"), 1) == "a compiled net cannot change its layers"
    assert obstacle(EAGER, torch.device("cpu"), 1) is None


@pytest.mark.parametrize(
    "settings, message",
    [
        (["train.backend=spare"], "train.backend must be one of dense, sparse, auto, got 'spare'"),
        (["train.limits=3"], "train.limits must be null, or layer names with densities"),
        (["+train.limits.a=2"], "train.limits must be null, or layer names with densities"),
        (["+train.limits.a=true"], "train.limits must be null, or layer names with densities"),
    ],
)
def test_wrong_settings_are_refused(composed, settings, message):
    with pytest.raises(UsageError, match=message):
        composed(*SMALL, *settings)


@pytest.mark.parametrize("settings", [SMALL, SMALL_IMAGES], ids=["mlp", "wrn"])
def test_bfloat16_trains_with_some_layers_dense(composed, tmp_path, settings, monkeypatch):
    """A residual that comes from a dense layer is in bfloat16 then, those of sparse layers are in float32."""
    names = {"layers.1": 1.0} | {f"stages.{stage}.conv{number}": 1.0 for stage in range(3) for number in (1, 2)}
    monkeypatch.setattr(backend_module, "limits", lambda net, layers, *_: names)
    settings = (*settings, "method=rigl", "train.precision=bfloat16")
    dense = run(composed(*settings, f"output={tmp_path / 'dense'}"))
    result = run(composed(*settings, "train.backend=auto"))
    assert result["modes"]["sparse_layers"] and result["modes"]["precision"] == "bfloat16"
    assert result["loss_last"] == pytest.approx(dense["loss_last"], abs=0.05)


def test_a_run_that_diverges_or_fails_is_recorded_as_ever(composed, monkeypatch, caplog):
    caplog.set_level("INFO")
    settings = (*SMALL, "train.backend=sparse")
    assert run(composed(*settings, "method=static", "optimizer.lr=1e12", "schedule=constant"))["status"] == "diverged"
    sound = RigL.step

    def breaks(self, optimizer_step=None):
        if self.steps == 20:
            raise RuntimeError("out of memory")
        sound(self, optimizer_step)

    config = composed(*settings, "method=rigl", OFTEN)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(RigL, "step", breaks)
        run(copy.deepcopy(config))
    stored = RunFolder(resolve(copy.deepcopy(config)).folder).result()
    assert stored["status"] == "failed" and stored["modes"]["sparse_layers"] == LAYERS
    assert run(copy.deepcopy(config))["status"] == "finished" and "resumed after step 13" in caplog.text


# --- going on ---------------------------------------------------------------------------------------------------------

CASES = [("sparse", "rigl", SMALL), ("sparse", "lpss", SMALL), ("sparse", "lpss", SMALL_IMAGES), ("auto", "gmp", SMALL)]


@pytest.mark.parametrize("name, method, settings", CASES)
def test_an_interrupted_run_ends_bitwise_as_the_uninterrupted_one(
    composed, tmp_path, interrupted, measured, name, method, settings
):
    """Interrupted within the first epoch, at its end, and within the second; 13 steps an epoch."""
    settings = (*settings, f"method={method}", OFTEN, f"train.backend={name}")
    whole, cut = (composed(*settings, f"output={tmp_path / part}") for part in ("whole", "cut"))
    run(copy.deepcopy(whole))
    for steps in (8, 5, 6):
        interrupted(cut, steps)
    run(copy.deepcopy(cut))
    assert same(files(cut), files(whole))


@pytest.mark.parametrize(
    "first, then", [("dense", "sparse"), ("sparse", "dense"), ("auto", "sparse"), ("dense", "auto")]
)
def test_a_run_goes_on_under_another_backend(composed, tmp_path, interrupted, measured, caplog, first, then):
    caplog.set_level("INFO")
    settings = (*SMALL, "method=lpss", OFTEN)
    whole = run(composed(*settings, f"output={tmp_path / 'whole'}"))
    interrupted(composed(*settings, f"train.backend={first}"), 17)
    result = run(composed(*settings, f"train.backend={then}"))
    assert "resumed after step 17" in caplog.text and result["modes"]["backend"] == then
    assert result["loss_last"] == pytest.approx(whole["loss_last"], abs=0.02)
    assert result["sparsity_weights"] == whole["sparsity_weights"]


def test_a_run_goes_on_with_the_limits_it_began_with_whatever_is_measured_then(
    composed, tmp_path, interrupted, measured
):
    settings = (*SMALL, "method=gmp", OFTEN, "train.backend=auto")
    whole, cut = (composed(*settings, f"output={tmp_path / part}") for part in ("whole", "cut"))
    run(copy.deepcopy(whole))
    interrupted(cut, 17)
    first, measured.answer = measured.answer, {"layers.0": 0.0, "layers.1": 1.0, "layers.2": 0.0}
    result = run(copy.deepcopy(cut))
    assert result["config"]["train"]["limits"] == first and measured.calls == 3
    assert same(files(cut), files(whole))


def test_a_record_is_repeated_with_its_limits_and_nothing_is_measured(composed, tmp_path, measured):
    settings = (*SMALL, "method=gmp", OFTEN, "train.backend=auto")
    first = run(composed(*settings, f"output={tmp_path / 'first'}"))
    record = json.loads((resolve(composed(*settings, f"output={tmp_path / 'first'}")).folder / "run.json").read_text())
    assert record["config"]["train"]["limits"] == measured.answer == first["config"]["train"]["limits"]
    calls, measured.answer = measured.calls, {}
    again = plain_config(record["config"] | {"output": str(tmp_path / "again")})  # as lpss-train --from does
    run(copy.deepcopy(again))
    assert measured.calls == calls
    assert same(files(again), files(composed(*settings, f"output={tmp_path / 'first'}")))
    dense = plain_config(record["config"] | {"output": str(tmp_path / "dense")})
    dense.train.backend = "dense"
    assert run(dense)["config"]["train"]["limits"] is None  # they had no part in it


def test_random_numbers_are_the_same_with_every_backend_and_whether_limits_are_known(composed, tmp_path, monkeypatch):
    """torch's global generator, which a net's dropout would use."""
    loader.library()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    states, train = [], run_module.Session.train
    monkeypatch.setattr(run_module.Session, "train", lambda self: states.append(torch.get_rng_state()) or train(self))
    for index, name in enumerate(("dense", "sparse", "auto", "auto")):
        run(composed(*SMALL, "train.max_steps=1", f"train.backend={name}", f"output={tmp_path / str(index)}"))
    assert (tmp_path / "lpss-native" / "times.json").exists()
    assert all(torch.equal(state, states[0]) for state in states)


def test_a_checkpoint_that_does_not_fit_is_one_line(composed, monkeypatch, interrupted):
    config = composed(*SMALL, "method=rigl", "train.backend=sparse")
    interrupted(config, 5)
    monkeypatch.setattr(RigL, "load_state_dict", lambda self, state: state["nothing"])
    with pytest.raises(LpssError, match="does not fit this run \\(KeyError 'nothing'\\)"):
        run(copy.deepcopy(config))


def test_nothing_is_said_of_a_dense_run(composed, caplog):
    with caplog.at_level(logging.INFO):
        run(composed(*SMALL, "train.max_steps=1"))
    assert "backend" not in caplog.text
