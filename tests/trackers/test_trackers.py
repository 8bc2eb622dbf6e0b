"""The guard around trackers, through whole runs: what they do wrong changes nothing."""

import json
import logging
import random
import signal
import time

import pytest
import torch

from lpss.errors import LpssError
from lpss.record import FAILED, FINISHED, INTERRUPTED, RunFolder
from lpss.registries import TRACKERS
from lpss.trackers import Tracker, safely
from lpss.trackers.note import Note
from lpss.train import run as run_module
from lpss.train.distributed import Processes
from lpss.train.resolve import resolve
from lpss.train.run import run
from lpss.train.tracking import trackers_of


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


def test_a_plugin_that_is_no_tracker_at_all_is_switched_off(small, tmp_path, monkeypatch):
    class Nothing:
        Config, packages = Tracker.Config, ()

        def __init__(self, config):
            pass

        def start(self, run, id, logged):
            return "three"

    monkeypatch.setitem(TRACKERS, "nothing", Nothing)
    result = run(small("+tracker.nothing={}", f"output={tmp_path}"))
    (line,) = [line for line in result["warnings"] if "tracker" in line]
    assert result["status"] == FINISHED and "its log failed: AttributeError" in line


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
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "no_such_package").mkdir()  # a folder of that name is none
    monkeypatch.setattr(TRACKERS["wandb"], "packages", ("no_such_package", "nor_this"))
    needs = r'no_such_package and nor_this: pip install "lpss\[wandb\]"'
    for name, words in {"book": "no_such_package: pip install no_such_package", "wandb": needs}.items():
        with pytest.raises(LpssError, match=f"^tracker={name} needs {words}$") as caught:
            run(small(f"+tracker.{name}={{}}", f"output={tmp_path / 'outputs'}"))
        assert caught.value.exit_code == 1 and not (tmp_path / "outputs").exists()
