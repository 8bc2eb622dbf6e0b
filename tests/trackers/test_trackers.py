"""Trackers through whole runs: everything once, whatever happens in between, and no run that notices them."""

import json
import logging
import random
import signal
import time
from dataclasses import dataclass, field
from itertools import count

import pandas as pd
import pytest
import torch

from lpss.config import RunConfig
from lpss.errors import LpssError
from lpss.record import DIVERGED, EPOCH_FIELDS, EPOCH_TIMES, FAILED, FINISHED, INTERRUPTED, RunFolder
from lpss.registries import TRACKERS
from lpss.trackers import Tracker, safely
from lpss.trackers.base import NUMBERS
from lpss.trackers.note import Note
from lpss.train import run as run_module
from lpss.train.distributed import Processes
from lpss.train.resolve import resolve
from lpss.train.run import run
from lpss.train.tracking import trackers_of

EACH = ("tensorboard", "mlflow", "wandb")
LEFT = {"tensorboard": INTERRUPTED, "mlflow": "KILLED", "wandb": INTERRUPTED}  # what each calls a run that was left
ENDED = {"tensorboard": FINISHED, "mlflow": "FINISHED", "wandb": FINISHED}


def test_every_tracker_has_its_row():
    assert set(EACH) == set(TRACKERS) == set(LEFT) == set(ENDED)


def interrupt(patch, step: int) -> None:
    """SIGTERM after that many steps."""
    after_step, steps = run_module.Session._after_step, count(1)

    def wrapped(session):
        if next(steps) == step:
            signal.raise_signal(signal.SIGTERM)
        after_step(session)

    patch.setattr(run_module.Session, "_after_step", wrapped)


@dataclass
class Tracked:
    """A run with all trackers. left: what they showed when it was interrupted; shown: in the end; by name, then id."""

    config: RunConfig
    result: dict
    left: dict
    shown: dict = field(default_factory=dict)


@pytest.fixture(scope="module")
def resumed(small, trackers, shown):
    """Interrupted in the middle of the second of three epochs, and resumed."""
    config = small(trackers())
    folder = resolve(config).folder
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        interrupt(patch, step=6)
        run(config)
    left = {name: shown(name, folder) for name in EACH}
    return Tracked(config, run(config), left, {name: shown(name, folder) for name in EACH})


def test_no_tracker_complains(resumed, killed):
    assert not [line for result in (resumed.result, killed.result) for line in result["warnings"] if "tracker" in line]


def metrics_of(folder) -> dict[str, list[tuple[int, float]]]:
    table = pd.read_csv(folder / "metrics.csv")
    return {name: list(zip(table["epoch"], table[name], strict=True)) for name in EPOCH_FIELDS}


def assert_same_points(shown, expected, names=EPOCH_FIELDS) -> None:
    for name in names:
        assert [epoch for epoch, _ in shown[name]] == [epoch for epoch, _ in expected[name]], name
        values = [value for _, value in expected[name]]
        assert [value for _, value in shown[name]] == pytest.approx(values, rel=1e-6), name  # TensorBoard's are float32


@pytest.mark.parametrize("name", EACH)
def test_after_an_interruption_every_epoch_is_there_once_in_one_run(resumed, name):
    folder = resolve(resumed.config).folder
    ((before, left),), ((id, shown),) = resumed.left[name].items(), resumed.shown[name].items()
    assert before == id == json.loads((folder / "trackers.json").read_text())["id"]
    assert left.statuses == [LEFT[name]] and shown.statuses[-1] == ENDED[name]
    assert [epoch for epoch, _ in left.points["eval_loss"]] == [1] and not left.numbers and not left.layers
    assert_same_points(shown.points, metrics_of(folder))


@pytest.mark.parametrize("name", EACH)
def test_layers_config_and_results_are_there(resumed, name):
    folder, (shown,) = resolve(resumed.config).folder, resumed.shown[name].values()
    layers = pd.read_csv(folder / "layers.csv")
    for row in layers.to_dict("records"):
        for metric, column in (("sparsity", "sparsity_reached"), ("hoyer_sparsity", "hoyer_sparsity")):
            points = shown.points[f"{metric}/{row['layer']}"]
            assert [epoch for epoch, _ in points] == [1, 2, 3]
            assert points[-1][1] == pytest.approx(row[column], rel=1e-6)
    assert shown.layers == list(layers["layer"]) and shown.pictures == 1
    assert (shown.config["method.name"], float(shown.config["sparsity"])) == ("rigl", 0.8)
    assert shown.config["model.hidden"] == "[128, 64]"
    numbers = {f"result/{field}": resumed.result[field] for field in NUMBERS if resumed.result[field] is not None}
    assert shown.numbers == pytest.approx(numbers, rel=1e-6) and "result/accuracy_last" in numbers


@pytest.fixture(scope="module")
def killed(small, trackers, shown, python, tmp_path_factory):
    """Killed when trackers had the second epoch, but the checkpoint only the first; then trained to its end."""
    config = small(trackers(), "seed=1")
    script = tmp_path_factory.mktemp("script") / "killed.py"
    script.write_text(
        "import json, os, signal, sys, time\n"
        "os.environ.pop('WANDB_SERVICE', None)\n"  # that of this process, which would believe that the run goes on
        "from lpss.config import plain_config\n"
        "from lpss.trackers.note import Note\n"
        "from lpss.train.run import run\n"
        "write = Note.write\n"
        "def write_and_die(note):\n"
        "    write(note)\n"
        "    if note.logged['wandb'] == 2:\n"
        "        time.sleep(0.5)\n"  # W&B writes ten times a second
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Note.write = write_and_die\n"
        "run(plain_config(json.loads(sys.argv[1])))\n"
    )
    done = python(script, json.dumps(config.to_dict()), cwd=script.parent)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = resolve(config).folder
    return Tracked(config, run(config), {}, {name: shown(name, folder) for name in EACH})


@pytest.mark.parametrize("name", EACH)
def test_an_epoch_that_is_trained_again_after_a_kill_is_not_logged_again(killed, name):
    (shown,) = killed.shown[name].values()
    names = [field for field in EPOCH_FIELDS if field not in EPOCH_TIMES]
    assert_same_points(shown.points, metrics_of(resolve(killed.config).folder), names)
    assert [epoch for epoch, _ in shown.points["seconds"]] == [1, 2, 3] and shown.pictures == 1


def test_a_run_that_is_trained_again_is_a_new_one_and_a_skipped_one_is_none(small, trackers, shown):
    settings = (trackers(), "seed=2")
    folder = resolve(small(*settings)).folder
    run(small(*settings))
    once = {name: shown(name, folder) for name in EACH}
    run(small(*settings))  # skipped
    assert {name: shown(name, folder) for name in EACH} == once
    run(small(*settings, "rerun=always"))
    for name in EACH:
        twice = shown(name, folder)
        assert len(twice) == 2 and [twice[id] for id in once[name]] == list(once[name].values())
        for one in twice.values():
            assert [epoch for epoch, _ in one.points["eval_loss"]] == [1, 2, 3]


def test_a_tracker_that_is_chosen_later_gets_the_epochs_before(small, trackers, shown, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        interrupt(patch, step=6)
        run(small("seed=3"))
    config = small("seed=3", trackers("tensorboard"))
    run(config)
    (one,) = shown("tensorboard", resolve(config).folder).values()
    assert_same_points(one.points, metrics_of(resolve(config).folder))


def test_a_run_that_diverged_is_shown_as_far_as_it_came(small, trackers, shown):
    config = small("seed=4", trackers(), "optimizer.lr=1e15", "schedule=constant", "method=static")
    assert run(config)["status"] == DIVERGED and "warnings" in run(config)
    folder = resolve(config).folder
    table = pd.read_csv(folder / "metrics.csv")
    for name, status in {"tensorboard": DIVERGED, "mlflow": "FAILED", "wandb": DIVERGED}.items():
        (one,) = shown(name, folder).values()
        assert one.statuses == [status] and not one.pictures and one.layers
        assert [value for _, value in one.points["train_loss"]] == pytest.approx(table["train_loss"], nan_ok=True)


def test_training_is_bitwise_the_same_with_and_without(small, resumed, tmp_path):
    plain = small("tracker=none", f"output={tmp_path}")
    assert resolve(plain).hash == resolve(resumed.config).hash
    run(plain)
    with_trackers, without = resolve(resumed.config).folder, resolve(plain).folder
    assert not (without / "trackers.json").exists()
    for name in ("weights.safetensors", "layers.csv"):
        assert (with_trackers / name).read_bytes() == (without / name).read_bytes()
    both = [pd.read_csv(folder / "metrics.csv") for folder in (with_trackers, without)]
    tables = [table.drop(columns=list(EPOCH_TIMES)) for table in both]
    assert tables[0].equals(tables[1])


# --- trackers that fail ---------------------------------------------------------------------------------------------
class Notebook(Tracker):
    """Writes down what it is told; `trouble` is what its hook `where` does, which is told of nothing more then."""

    trouble, where, said = None, "", []

    def _say(self, hook, *told):
        self.said.append((hook, *told))
        if hook == self.where and self.trouble is not None:
            self.trouble()

    def start(self, run, id, logged):
        self._say("start", run.label, run.group)
        return logged

    def log(self, epoch, metrics):
        self._say("log", epoch)

    def log_result(self, numbers, layers, picture):
        self._say("log_result", numbers["result/steps"], len(layers), picture.size)

    def close(self, status):
        self._say("close", status)


@pytest.fixture
def notebook(monkeypatch):
    """notebook(name, trouble, where) registers a `Notebook` of that name."""

    def register(name: str, trouble=None, where: str = "") -> type[Notebook]:
        kind = type(name, (Notebook,), {"trouble": trouble and staticmethod(trouble), "where": where, "said": []})
        monkeypatch.setitem(TRACKERS, name, kind)
        return kind

    return register


def raises():
    raise ConnectionError("the server is\non fire")


def exits():
    raise SystemExit(3)


def hangs():
    time.sleep(2)


SAID = {
    raises: "ConnectionError: the server is",
    exits: "RuntimeError: SystemExit(3)",
    hangs: "TimeoutError: no answer within 0.2 seconds",
}
ALL = [("start", "synthetic rigl s=0.8 seed=0", "synthetic/mlp"), ("log", 1), ("log", 2), ("log", 3)]


@pytest.mark.parametrize("trouble", SAID)
@pytest.mark.parametrize("where", ["start", "log", "log_result", "close"])
def test_a_tracker_that_fails_is_switched_off_and_the_run_goes_on(
    small, tmp_path, notebook, monkeypatch, caplog, trouble, where
):
    monkeypatch.setattr(safely, "SECONDS", 0.2 if trouble is hangs else 60)
    bad, good = notebook("bad", trouble, where), notebook("good")
    config = small("+tracker.bad={}", "+tracker.good={}", f"output={tmp_path}")
    result = run(config)
    assert result["status"] == FINISHED
    (line,) = [line for line in result["warnings"] if "tracker" in line]
    assert line.startswith(f"tracker=bad is switched off, its {where} failed: {SAID[trouble]}") and "\n" not in line
    written = json.loads((resolve(config).folder / "run.json").read_text())
    assert written["warnings"] == result["warnings"] and caplog.text.count("tracker=bad") == 1
    assert (resolve(config).folder / "run.log").read_text().count("tracker=bad") == 1
    assert bad.said[-1][0] == where and [hook for hook, *_ in bad.said].count(where) == 1
    assert good.said[:4] == ALL and good.said[-1] == ("close", FINISHED)
    assert good.said[4][:3] == ("log_result", 12, 3) and len(good.said) == 6


def draws():
    random.random(), torch.rand(1)


def test_random_numbers_and_levels_of_loggers_are_left_alone(small, trackers, tmp_path, notebook):
    def state():
        levels = [logging.getLogger(name).level for name in ("", "lpss", "matplotlib", "hydra", "urllib3")]
        return torch.get_rng_state().tolist(), levels, list(logging.root.handlers)

    drawing = notebook("drawing", draws, "log")
    runs = []
    for chosen in ((f"output={tmp_path}",), (trackers(), "+tracker.drawing={}")):
        random.seed(0)
        config = small(*chosen, "seed=5", "method=set")  # which grows at random
        run(config)
        runs.append((state(), random.random(), (resolve(config).folder / "weights.safetensors").read_bytes()))
    assert ("log", 3) in drawing.said and runs[0] == runs[1]


def test_a_run_that_fails_is_closed_as_failed_and_goes_on_next_time(small, tmp_path, notebook, monkeypatch):
    book, config = notebook("book"), small("+tracker.book={}", f"output={tmp_path}")
    with monkeypatch.context() as patch:
        patch.setattr(run_module.Session, "_save", lambda session: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(config)
    assert book.said == [*ALL[:2], ("close", FAILED)]
    run(config)
    assert book.said[3:6] == [ALL[0], *ALL[2:]], "epoch 1 is there"


def test_a_note_that_cannot_be_written_or_read_is_no_reason_to_stop(small, tmp_path, notebook):
    book, config = notebook("book"), small("+tracker.book={}", f"output={tmp_path}")
    RunFolder(resolve(config).folder).tracked.mkdir(parents=True)
    result = run(config)
    (line,) = [line for line in result["warnings"] if "trackers.json" in line]
    assert "could not be written" in line and book.said[-1] == ("close", FINISHED) and len(book.said) == 6


def test_an_interrupted_start_is_closed(small, tmp_path, notebook):
    book = notebook("book", lambda: signal.raise_signal(signal.SIGTERM), "log")
    config = small("+tracker.book={}", f"output={tmp_path}")
    with pytest.raises(SystemExit):
        run(config)
    assert (
        book.said == [*ALL[:2], ("close", INTERRUPTED)] and Note.of(resolve(config).folder / "trackers.json", "").logged
    )
    book.trouble = None
    run(config)
    assert [said for said in book.said if said[0] == "log"] == ALL[1:]


def test_only_the_main_process_has_trackers(small, notebook):
    notebook("book")
    resolved = resolve(small("+tracker.book={}"))
    assert trackers_of(resolved, Processes(0, 2)).active and not trackers_of(resolved, Processes(1, 2)).active


def test_a_missing_package_is_said_before_anything_is_loaded(small, tmp_path, notebook, monkeypatch):
    notebook("book").packages = ("no_such_package", "torch")
    monkeypatch.setattr(run_module, "build", None)
    monkeypatch.setattr(TRACKERS["wandb"], "packages", ("no_such_package", "nor_this"))
    needs = r'no_such_package and nor_this: pip install "lpss\[wandb\]"'
    for name, words in {"book": "no_such_package: pip install no_such_package", "wandb": needs}.items():
        with pytest.raises(LpssError, match=f"^tracker={name} needs {words}$") as caught:
            run(small(f"+tracker.{name}={{}}", f"output={tmp_path}"))
        assert caught.value.exit_code == 1 and not list(tmp_path.iterdir())
