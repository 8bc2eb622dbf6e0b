"""Whole runs on small data: results, determinism, skipping, resuming, failing, diverging."""

import copy
import json
import re
import signal
import subprocess
import sys
import time
from functools import cache
from itertools import count

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lpss.cli.compose import compose_run
from lpss.config import plain_config
from lpss.data import DATASETS, load
from lpss.errors import DataError, UsageError
from lpss.models import build_model
from lpss.record import EPOCH_TIMES, FIELDS, LAYER_FIELDS, TIMES, RunFolder
from lpss.sparse.methods import METHODS, RigL
from lpss.train import checkpoint, trainer
from lpss.train import run as run_module
from lpss.train import step as step_module
from lpss.train.interrupt import Interrupts
from lpss.train.resolve import resolve
from lpss.train.run import run
from lpss.train.step import TrainStep
from lpss.train.weights import load_weights

SMALL = (
    "dataset=synthetic",
    "dataset.train_size=400",
    "dataset.test_size=100",
    "train.epochs=4",
    "train.batch_size=50",
    "device=cpu",
)


def weights_of(config) -> dict:
    return load_file(resolve(config).folder / "weights.safetensors")


def without_times(result: dict) -> dict:
    return {key: value for key, value in result.items() if key not in TIMES}


@pytest.mark.parametrize("limit, length, dense_run", [("null", 32, 32), ("8", 4, 8)])
def test_trainings_that_follow_each_other_all_count(composed, limit, length, dense_run):
    result = run(composed(*SMALL, "method=imp", "method.rounds=1", "sparsity=0.5", f"train.max_steps={limit}"))
    density = result["inference_flops_relative"]
    steps = length + 1 + (length - 1) * density  # the gradient with which the second round begins was a dense one
    assert result["train_flops_relative"] == pytest.approx(steps / dense_run)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_leaves_a_complete_folder(composed, method):
    config = composed(*SMALL, f"method={method}", "sparsity=0.8")
    result = run(config)
    folder = resolve(config).folder
    assert {"run.json", "config.yaml", "metrics.csv", "layers.csv", "weights.safetensors", "run.log"} == {
        path.name for path in folder.iterdir() if path.name != ".lock"
    }
    assert result.keys() == FIELDS.keys() - {"error"} | {"schema"} and result["status"] == "finished"
    assert without_times(json.loads((folder / "run.json").read_text())) == without_times(json.loads(json.dumps(result)))
    metrics = pd.read_csv(folder / "metrics.csv")
    epochs = range(1, 1 + 4 * METHODS[method].trainings({}, 0.8))  # IMP trains several times
    assert list(metrics["epoch"]) == list(epochs) and list(metrics["step"]) == [8 * epoch for epoch in epochs]
    assert metrics["eval_accuracy"].iloc[-1] == pytest.approx(result["accuracy_last"])
    assert metrics["eval_accuracy"].max() == pytest.approx(result["accuracy_best"])
    layers = pd.read_csv(folder / "layers.csv")
    assert list(layers.columns) == list(LAYER_FIELDS) and list(layers["role"]) == ["stem", "linear", "head"]
    assert 1 - layers["active"].sum() / layers["weights"].sum() == pytest.approx(result["sparsity_weights"])
    weights = load_file(folder / "weights.safetensors")
    live = layers["layer"].map(lambda name: weights[f"net.{name}.weight"].any(1).sum().item())  # has a Hoyer's sparsity
    assert metrics["hoyer_sparsity"].iloc[-1] == pytest.approx((layers["hoyer_sparsity"] * live).sum() / live.sum())
    on_sphere = layers["p"].notna()
    assert list(on_sphere) == ([True, True, False] if method.startswith("lpss") else [False] * 3)
    if method not in ("dense", "lpss", "lpss_demo"):
        exact = 1e-3 if method != "srigl" else 5e-3  # as many weights for each neuron: a whole number of them
        assert result["sparsity_weights"] == pytest.approx(0.8, abs=exact)


def test_saved_weights_are_zero_off_their_masks_and_score_what_the_result_says(composed):
    config = composed(*SMALL, "method=lpss", "sparsity=0.5", "train.epochs=8")
    result = run(config)
    net = build_model(resolve(config).config.model, (20,), 4)
    masks = load_weights(resolve(config).folder / "weights.safetensors", net)
    assert set(masks) == {"layers.0", "layers.1", "layers.2"}
    for index, layer in enumerate(net.layers):
        mask = masks[f"layers.{index}"]
        assert mask.dtype == torch.bool and not layer.weight[~mask].any()
    norms = torch.linalg.vector_norm(net.layers[1].weight.double(), result["p"], dim=1)
    assert torch.allclose(norms[norms > 0], torch.ones_like(norms[norms > 0]), atol=1e-5)
    data = load(DATASETS.options(config.dataset))
    accuracy = (net(data.test.x).argmax(1) == data.test.y).float().mean().item()
    assert accuracy == pytest.approx(result["accuracy_last"])


@pytest.mark.parametrize("method", ["lpss", "set", "snip"])
def test_the_same_command_twice_gives_the_same_weights(composed, tmp_path, method):
    first = run(composed(*SMALL, f"method={method}", f"output={tmp_path / 'a'}"))
    second = run(composed(*SMALL, f"method={method}", f"output={tmp_path / 'b'}"))
    a, b = (weights_of(composed(*SMALL, f"method={method}", f"output={tmp_path / name}")) for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert first["accuracy_last"] == second["accuracy_last"]
    other = run(composed(*SMALL, f"method={method}", f"output={tmp_path / 'b'}", "seed=1"))
    assert other["config_hash"] != first["config_hash"]
    c = weights_of(composed(*SMALL, f"method={method}", f"output={tmp_path / 'b'}", "seed=1"))
    assert not torch.equal(a["net.layers.0.weight"], c["net.layers.0.weight"])


def test_a_finished_run_is_not_trained_again(composed, monkeypatch):
    first = run(composed(*SMALL))
    monkeypatch.setattr(run_module, "Session", None)
    assert without_times(run(composed(*SMALL, "device=auto"))) == json.loads(json.dumps(without_times(first)))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_between_epochs_continues_bitwise(composed, tmp_path, monkeypatch, method):
    settings = (*SMALL, f"method={method}", "train.checkpoint_every=1")
    whole = run(composed(*settings, f"output={tmp_path / 'whole'}"))

    class Killed(BaseException):
        pass

    save = run_module.Session._save

    def save_then_die(session):
        save(session)
        if session.trainer.progress.epoch == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_module.Session, "_save", save_then_die)
        with pytest.raises(Killed):
            run(composed(*settings, f"output={tmp_path / 'cut'}"))
    config = resolve(composed(*settings, f"output={tmp_path / 'cut'}"))
    assert not (config.folder / "run.json").exists() and (config.folder / "checkpoint.pt").exists()
    continued = run(composed(*settings, f"output={tmp_path / 'cut'}"))
    assert not (config.folder / "checkpoint.pt").exists()
    a = weights_of(composed(*settings, f"output={tmp_path / 'whole'}"))
    b = weights_of(composed(*settings, f"output={tmp_path / 'cut'}"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    for key in ("accuracy_last", "accuracy_best", "train_flops_relative", "sparsity_weights", "steps", "loss_last"):
        assert whole[key] == continued[key], key
    assert whole_rows(whole).equals(whole_rows(continued))


def signal_at(patch, owner, name: str, call: int) -> None:
    """SIGTERM comes during the call number `call` of a function."""
    function, calls = getattr(owner, name), count(1)

    def wrapped(*args, **kwargs):
        if next(calls) == call:
            signal.raise_signal(signal.SIGTERM)
        return function(*args, **kwargs)

    patch.setattr(owner, name, wrapped)


IMAGES = (
    *("dataset.image_shape=[1,8,8]", "+dataset.augment.crop_pad=1", "+dataset.augment.flip=true"),
    *("model=wrn", "model.depth=8", "model.width=1"),
)
CASES = [(method, "auto") for method in METHODS] + [("lpss", "lpsgd"), ("rigl", "lpsgd"), ("set", "lpsgd_m")]


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_a_run_interrupted_anywhere_continues_bitwise(composed, tmp_path, monkeypatch, method, optimizer):
    """Twice, in the middle of epochs: weights, masks, metrics.csv and run.json are those of the uninterrupted run."""
    settings = (*SMALL, f"method={method}", "sparsity=0.6", "train.batch_size=20", "train.epochs=2")
    monkeypatch.setattr(step_module, "AT_ONCE", 8)
    settings += IMAGES if optimizer == "auto" else (f"optimizer={optimizer}",)
    whole = run(composed(*settings, f"output={tmp_path / 'whole'}"))
    cut = composed(*settings, f"output={tmp_path / 'cut'}")
    for stop in (15, 9):  # of 20 and 20 steps; the first one beyond AT_ONCE, so that sums are pending
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            signal_at(patch, TrainStep, "__call__", stop)
            run(copy.deepcopy(cut))
    folder = resolve(copy.deepcopy(cut)).folder
    assert not (folder / "run.json").exists()
    continued = run(copy.deepcopy(cut))
    assert continued["steps"] == whole["steps"] == 40 * METHODS[method].trainings({}, 0.6)
    other = resolve(composed(*settings, f"output={tmp_path / 'whole'}")).folder
    a, b = (load_file(path / "weights.safetensors") for path in (other, folder))
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert (other / "layers.csv").read_bytes() == (folder / "layers.csv").read_bytes()
    metrics = [pd.read_csv(path / "metrics.csv", dtype=str) for path in (other, folder)]
    assert metrics[0].drop(columns=list(EPOCH_TIMES)).equals(metrics[1].drop(columns=list(EPOCH_TIMES)))
    for result in (whole, continued):
        result["config"].pop("output")
    assert {k: v for k, v in whole.items() if k not in TIMES} == {k: v for k, v in continued.items() if k not in TIMES}


# Runs of 2 x 4 steps, of 3 x 1 step, and one that ends within its second epoch.
SHORT = {
    "epochs of four steps": ("train.batch_size=100", "train.epochs=2"),
    "epochs of one step": ("train.batch_size=400", "train.epochs=3"),
    "an end within an epoch": ("train.batch_size=100", "train.max_steps=6"),
}
STEPS = {"epochs of four steps": 8, "epochs of one step": 3, "an end within an epoch": 6}
MOMENTS = [(shape, TrainStep, "__call__", step) for shape in SHORT for step in range(1, STEPS[shape] + 1)]
MOMENTS += [(shape, trainer, "evaluate", epoch) for shape in SHORT for epoch in (1, 2)]
MOMENTS += [(shape, checkpoint, "save", 1) for shape in SHORT]
MOMENTS += [(shape, RunFolder, "write_result", 1) for shape in SHORT]


MOMENT = (*SMALL, "method=lpss", "sparsity=0.6", "method.update_every=1")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """uninterrupted(shape) -> the result of the run of that shape, trained once."""

    @cache
    def train(shape):
        return run(compose_run([*MOMENT, *SHORT[shape], f"output={tmp_path_factory.mktemp('whole')}"]))

    return train


@pytest.mark.parametrize(("shape", "owner", "name", "call"), MOMENTS)
def test_a_run_interrupted_at_any_moment_ends_as_the_uninterrupted_one(
    composed, uninterrupted, monkeypatch, shape, owner, name, call
):
    """At every step, while it is evaluated, while a checkpoint and while the result is written."""
    whole = copy.deepcopy(uninterrupted(shape))
    cut = composed(*MOMENT, *SHORT[shape])
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="143"):
        signal_at(patch, owner, name, call)
        run(cut)
    finished = name == "write_result" or name == "evaluate" and call == len(whole_rows(whole))
    assert (RunFolder(resolve(cut).folder).result() is not None) == finished
    continued = run(cut)
    assert whole_rows(continued).equals(whole_rows(whole))
    a, b = weights_of(plain_config(whole["config"])), weights_of(cut)
    assert all(torch.equal(a[key], b[key]) for key in a)
    for result in (whole, continued):
        result["config"].pop("output")
    assert without_times(json.loads(json.dumps(whole))) == without_times(json.loads(json.dumps(continued)))


def whole_rows(result: dict) -> pd.DataFrame:
    """metrics.csv of a run, but for times."""
    config = plain_config(result["config"])
    return pd.read_csv(resolve(config).folder / "metrics.csv", dtype=str).drop(columns=list(EPOCH_TIMES))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_saves_the_run_and_ends_the_command(tmp_path, number, code):
    command = [sys.executable, "-m", "lpss.cli.train", *SMALL, "train.epochs=100000", f"output={tmp_path}"]
    command += ["train.checkpoint_every=1000000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        log = _wait_for(lambda: next(tmp_path.rglob("metrics.csv"), None))  # it trains
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "interrupted and saved after step" in said and "Traceback" not in said
    assert (log.parent / "checkpoint.pt").exists() and not (log.parent / "run.json").exists()


def _wait_for(found, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not come in time")


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.received == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit, match="143"):
            interrupts.leave()


def test_a_run_that_another_process_trains_is_left_to_it(composed, caplog):
    caplog.set_level("INFO")
    settings = (*SMALL, "train.epochs=1")
    folder = RunFolder(resolve(composed(*settings)).folder)
    with folder.lock() as mine:
        assert mine
        assert run(composed(*settings))["status"] == "running"
        assert "another process is training it, skipped" in caplog.text and folder.result() is None
    assert run(composed(*settings))["status"] == "finished"


def test_a_run_that_ended_while_this_one_was_getting_ready_is_not_trained_again(composed, monkeypatch):
    settings = (*SMALL, "train.epochs=1")
    first = run(composed(*settings))
    results = iter([None])
    whole = RunFolder.result
    monkeypatch.setattr(RunFolder, "result", lambda self: next(results, False) or whole(self))
    monkeypatch.setattr(run_module.Session, "train", None)
    assert run(composed(*settings))["finished"] == first["finished"]


def test_what_a_killed_process_left_half_written_is_removed(composed):
    config = resolve(composed(*SMALL, "train.epochs=1"))
    config.folder.mkdir(parents=True)
    (config.folder / ".run.json.x1y2").write_text('{"status": "fini')
    run(config.config)
    assert sorted(path.name for path in config.folder.iterdir() if path.name != ".lock") == [
        "config.yaml",
        "layers.csv",
        "metrics.csv",
        "run.json",
        "run.log",
        "weights.safetensors",
    ]


def test_gradients_with_nan_change_no_masks_and_are_reported(composed, monkeypatch, caplog):
    class Faulty(RigL):
        def step(self, optimizer_step=None):
            if self.should_update() and self.steps < 16:
                next(iter(self.masks.layers.values())).weight.grad[0, 0] = float("nan")
                before = {name: mask.clone() for name, mask in self.masks.items()}
                super().step(optimizer_step)
                assert all(torch.equal(before[name], mask) for name, mask in self.masks.items())
            else:
                super().step(optimizer_step)

    monkeypatch.setitem(METHODS, "rigl", Faulty)
    result = run(composed(*SMALL, "method=rigl", "sparsity=0.6", "method.update_every=5"))
    assert "3 topology updates were skipped because gradients held NaN or inf" in result["warnings"]
    assert "step 5: no topology update, gradients hold NaN or inf" in caplog.text
    assert result["sparsity_weights"] == pytest.approx(0.6, abs=0.01)


def test_a_broken_checkpoint_is_said_and_the_run_starts_afresh(composed, caplog):
    config = resolve(composed(*SMALL))
    config.folder.mkdir(parents=True)
    (config.folder / "checkpoint.pt").write_bytes(b"not a checkpoint")
    result = run(composed(*SMALL))
    assert result["status"] == "finished" and result["steps"] == 32
    assert "checkpoint.pt cannot be read" in caplog.text


def test_a_diverged_run_ends_with_that_status_and_is_not_repeated(composed):
    settings = (*SMALL, "method=static", "sparsity=0.5", "optimizer.lr=1e12", "schedule=constant")
    result = run(composed(*settings))
    assert result["status"] == "diverged"
    folder = RunFolder(resolve(composed(*settings)).folder)
    assert folder.result()["status"] == "diverged" and "NaN" not in (folder.path / "run.json").read_text()
    assert run(composed(*settings))["status"] == "diverged"


def test_a_failed_run_is_recorded_raised_and_goes_on_from_its_checkpoint_next_time(composed, monkeypatch, caplog):
    caplog.set_level("INFO")
    sound = RigL.step

    def breaks(self, optimizer_step=None):
        if self.steps == 20:  # of 32, 8 an epoch
            raise RuntimeError("out of memory")
        sound(self, optimizer_step)

    with monkeypatch.context() as patch:
        patch.setattr(RigL, "step", breaks)
        with pytest.raises(RuntimeError):
            run(composed(*SMALL, "method=rigl"))
    stored = RunFolder(resolve(composed(*SMALL, "method=rigl")).folder).result()
    assert stored["status"] == "failed" and stored["error"] == "RuntimeError: out of memory"
    assert run(composed(*SMALL, "method=rigl"))["status"] == "finished"
    assert "resumed after step 16" in caplog.text


def test_wrong_settings_leave_no_folder(composed, tmp_path):
    for override, kind in (
        ("train.batch_size=500", UsageError),
        ("optimizer.p=1", UsageError),
        ("device=nope", UsageError),
        ("sphere.exclude=[heda]", UsageError),
        ("mask.exclude=[x]", UsageError),
        ("dataset.train_size=0", UsageError),
    ):
        with pytest.raises(kind):
            run(composed(*SMALL, override))
    with pytest.raises(DataError, match="letter-recognition.data"):
        run(composed("dataset=letter", f"data.root={tmp_path}", "data.download=false"))
    assert not (tmp_path / "outputs").exists()


def test_validation_holds_out_training_rows_and_says_so(composed):
    result = run(composed(*SMALL, "train.validation=0.25"))
    assert result["evaluated_on"] == "validation"
    assert result["steps"] == 4 * (300 // 50)
    assert (result["accuracy_last"] * 100) % 1 == pytest.approx(0, abs=1e-6)


def test_max_steps_ends_training_and_the_schedule_with_it(composed):
    result = run(composed(*SMALL, "train.max_steps=11"))
    metrics = pd.read_csv(resolve(composed(*SMALL, "train.max_steps=11")).folder / "metrics.csv")
    assert result["steps"] == 11 and list(metrics["step"]) == [8, 11]
    assert metrics["lr"].iloc[-1] < 0.1 * metrics["lr"].iloc[0]


def test_bfloat16_trains_with_float32_weights(composed):
    config = composed(*SMALL, "method=lpss", "train.precision=bfloat16", "sparsity=0.5", "train.epochs=8")
    assert run(config)["accuracy_last"] > 0.9
    assert all(value.dtype == torch.float32 for key, value in weights_of(config).items() if key.startswith("net."))


def test_bfloat16_that_overflows_ends_as_diverged_with_the_facts_in_the_result(composed):
    settings = (*SMALL, "method=static", "sparsity=0.5", "optimizer.lr=1e30", "schedule=constant")
    result = run(composed(*settings, "train.precision=bfloat16"))
    assert result["status"] == "diverged" and result["epochs"] == 1


def test_images_are_augmented_and_normalised_on_the_way(composed):
    result = run(
        composed(
            *SMALL,
            "dataset.image_shape=[1,16,16]",
            "+dataset.augment.crop_pad=1",
            "+dataset.augment.flip=true",
            "model=wrn",
            "model.depth=8",
            "model.width=1",
            "method=rigl",
            "sparsity=0.5",
            "train.epochs=2",
        )
    )
    assert result["status"] == "finished" and result["model"] == "wrn"


def test_collapse_is_a_warning_in_the_result(composed, caplog):
    result = run(composed(*SMALL, "method=static", "sparsity=0.99", "train.epochs=1"))
    assert any("neurons have no active weight" in line for line in result["warnings"])
    assert "neurons have no active weight" in caplog.text


@pytest.mark.parametrize("p, told", [(1.01, True), (1.2, False)])
def test_weights_that_underflow_are_told_in_the_result(composed, p, told):
    result = run(composed("dataset=digits", "method=lpss", f"optimizer.p={p}", "train.epochs=2", "device=cpu"))
    lines = [line for line in result["warnings"] if "leaves float32" in line]
    assert len(lines) == told and result["status"] == "finished"
    if told:
        zeros, active = map(int, re.search(r"(\d+) of (\d+) active", lines[0]).groups())
        assert 0.3 < zeros / active < 1


@pytest.mark.parametrize("p, exact, told", [(2.0, "false", True), (1.1, "false", False), (2.0, "true", False)])
def test_a_p_too_large_for_the_sparsity_is_told_where_nothing_makes_up_for_it(composed, caplog, p, exact, told):
    settings = ("dataset=digits", "method=lpss", "sparsity=0.9", "train.max_steps=2", f"method.exact_finish={exact}")
    result = run(composed(*settings, f"optimizer.p={p}"))
    lines = [line for line in result["warnings"] if "optimizer.p is large for sparsity 0.9" in line]
    assert len(lines) == told == ("optimizer.p is large for sparsity 0.9" in caplog.text)


def test_plugins_add_methods_of_the_users_own(composed, tmp_path, monkeypatch):
    (tmp_path / "my_method.py").write_text(
        "from lpss.sparse.methods import METHODS, Static\n@METHODS.register('mine')\nclass Mine(Static):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    config = composed(*SMALL, "method=static", "plugins=[my_method]", "sparsity=0.5")
    config.method["name"] = "mine"
    try:
        assert run(config)["method"] == "mine"
    finally:
        METHODS.pop("mine")


@pytest.mark.gpu
def test_a_gpu_run_reaches_what_a_cpu_run_reaches(composed, tmp_path):
    settings = (*SMALL[:-1], "method=lpss", "sparsity=0.5", "train.epochs=8")
    results = [
        run(composed(*settings, f"device={device}", f"output={tmp_path / device}")) for device in ("cpu", "cuda")
    ]
    assert results[1]["device"] == "cuda" and results[1]["peak_memory_bytes"] > 0
    assert results[0]["accuracy_last"] == pytest.approx(results[1]["accuracy_last"], abs=0.05)


@pytest.mark.parametrize("dataset", ["adult", "connect4", "dna", "mushroom", "letter", "climate", "web"])
def test_every_uci_set_trains_with_its_own_model(composed, real_uci, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # where parsed data are cached if the real ones are read-only
    result = run(composed(f"dataset={dataset}", f"data.root={real_uci}", "method=lpss", "train.max_steps=5"))
    assert result["status"] == "finished" and result["steps"] == 5
    published = {
        "adult": 323_202,
        "connect4": 492_291,
        "dna": 936_195,
        "mushroom": 90_562,
        "letter": 716_378,
        "climate": 76_738,
        "web": 212_867,
    }
    assert result["parameters"] == published[dataset]


def test_a_net_of_which_little_can_become_sparse_is_a_warning_in_its_record(composed):
    config = composed(
        "dataset=digits", "method=rigl", "sparsity=0.5", "train.max_steps=1", "mask.exclude=[stem,linear]"
    )
    (line,) = [line for line in run(config)["warnings"] if "can become sparse" in line]
    assert line.startswith("less than half of the net can become sparse: masks cover 1 of 3 layers") and "stem" in line
