"""Shared by all tests: one thread a process, a run's config as lpss-train composes it, and where the real data are."""

import os

# A thread each for pytest-xdist's workers and for the commands that tests start: more would fight for the same cores.
os.environ["OMP_NUM_THREADS"] = "1"

import copy
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path

import pytest

from lpss.cli.compose import compose_run
from lpss.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[1]


@cache
def _composed(overrides: tuple[str, ...]) -> RunConfig:
    return compose_run(overrides)


@pytest.fixture
def composed(tmp_path):
    """composed("dataset=letter", ...) -> the RunConfig that lpss-train would run, with its output in tmp_path."""

    def build(*overrides: str) -> RunConfig:
        config = copy.deepcopy(_composed(tuple(one for one in overrides if not one.startswith("output="))))
        (*_, config.output) = (str(tmp_path / "outputs"), *(one[7:] for one in overrides if one.startswith("output=")))
        return config

    return build


@pytest.fixture
def run_folder(tmp_path):
    """run_folder(status, folder=..., settings={"train.epochs": 5}, seed=0, ...) -> folder below tmp_path/outputs, of a
    run that has ended so, or with None has not; the other words are fields of its record."""
    made = count()

    def write(status="finished", folder=None, settings=None, **fields) -> Path:
        record = {"dataset": "digits", "model": "mlp", "method": "set", "optimizer": "sgd", "sparsity": 0.9, "seed": 0}
        record |= {"accuracy_last": 0.9, "wall_time_s": 60.0, "epochs": 20} | fields
        config = {name: {"name": record[name]} for name in ("dataset", "model", "method", "optimizer")}
        config |= {"sparsity": record["sparsity"], "seed": record["seed"], "experiment_name": record.get("experiment")}
        config["train"] = {"epochs": 20, "max_steps": None, "validation": 0.0}
        for key, value in (settings or {}).items():
            group, _, name = key.rpartition(".")
            (config.setdefault(group, {}) if group else config)[name] = value
        digits = f"{next(made):012x}"
        name = folder or f"digits-mlp/{record['method']}-s{record['sparsity']:g}/seed{record['seed']}-{digits}"
        path = tmp_path / "outputs" / name
        path.mkdir(parents=True)
        (path / "config.yaml").write_text(json.dumps(config))  # which is YAML, too
        (path / ".lock").touch()
        if status:
            record = {"schema": 1, "status": status, "config_hash": digits, "config": config} | record
            (path / "run.json").write_text(json.dumps(record))
        return path

    return write


class Forks:
    """forks.py as a process of its own, started when it is first needed."""

    def __init__(self):
        self.server = None

    def together(self, *commands: Sequence[str], cwd: Path, environments: Sequence[Mapping[str, str]] = ()) -> list:
        """What became of `python` with these words, all at once: a CompletedProcess each."""
        if self.server is None:
            words = [sys.executable, str(Path(__file__).with_name("forks.py"))]
            self.server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        commands = [list(map(str, command)) for command in commands]
        asked = [
            {"argv": command, "cwd": str(cwd), "environment": dict(environment)}
            for command, environment in zip(commands, environments or [{}] * len(commands), strict=True)
        ]
        print(json.dumps(asked), file=self.server.stdin, flush=True)
        answers = json.loads(self.server.stdout.readline())
        return [
            subprocess.CompletedProcess(command, answer["code"], answer["stdout"], answer["stderr"])
            for command, answer in zip(commands, answers, strict=True)
        ]

    def __call__(self, *command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
        """python("-m", "lpss.cli.train", ..., cwd=folder): like subprocess.run, but torch is there already."""
        return self.together(command, cwd=cwd, environments=[environment])[0]

    def stop(self) -> None:
        if self.server is not None:
            self.server.communicate()


@pytest.fixture(scope="session")
def python():
    """python(words..., cwd=folder) runs a command in a fork of a process that has imported the package; `Forks`."""
    forks = Forks()
    yield forks
    forks.stop()


@pytest.fixture(scope="session")
def real_uci() -> Path:
    """A data root with the real UCI sets; skips where this machine has none."""
    places = [os.environ.get("LPSS_DATA"), REPOSITORY.parent / "shared" / "data", Path("~/.cache/lpss").expanduser()]
    for place in places:
        if place and (Path(place) / "uci" / "letter").is_dir():
            return Path(place)
    pytest.skip("no real data: set LPSS_DATA to a folder with uci/ (see `lpss-data`)")


# Folders whose tests start processes or compose many runs.
LONGEST = ("fuzz", "cli", "scripts", "train", "trackers", "tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The longest tests first, so that no worker of pytest-xdist is left alone with one in the end. Tests marked `gpu`
    are skipped where there is no CUDA device."""
    items.sort(key=lambda item: LONGEST.index(name) if (name := item.path.parent.name) in LONGEST else len(LONGEST))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
