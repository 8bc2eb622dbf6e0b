"""Cases of wrong input, a worker that runs them, and the one rule for what may come out."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Case:
    """A command, run in a folder of its own that `prepare` fills; `names`: a refusal says one of them. Unless it is
    `wrong` for certain it may also succeed. `options`: see worker.py."""

    argv: Sequence[str]
    names: Sequence[str]
    prepare: Callable[[Path], object] = lambda folder: None
    wrong: bool = False
    options: dict = field(default_factory=dict)

    def problem(self, answer: dict, before: dict[Path, str], after: dict[Path, str]) -> str | None:
        """What is wrong with the answer, or None. `before`, `after`: the run.json files in the folder."""
        code, error = answer["code"], answer["stderr"]
        lines = [line for line in error.splitlines() if line.strip()]
        if lines and lines[0].startswith("usage: "):  # argparse says the usage first
            lines = lines[-1:]
        if self.argv[0] == "lpss-table":  # says what it leaves out, a line a file
            lines = [line for line in lines if not line.startswith("skipped ")]
        if self.argv[0] == "lpss-train":  # says what is masked before it trains
            lines = [line for line in lines if not line.startswith("masks cover ")]
        new = [text for path, text in after.items() if before.get(path) != text] + answer["on_disk"]
        ended = [text for text in new if _status(text) in ("finished", "diverged")]
        if code not in (0, 1, 2) or "Traceback" in error or "HYDRA_FULL_ERROR" in error:  # the latter would show one
            return "a crash"
        if code == 0:
            lacking = self.argv[0] == "lpss-train" and not ended and not before
            return "it was accepted" if self.wrong else "it has no result" if lacking else None
        if ended:
            return "it looks finished"
        if not 1 <= len(lines) <= 2:
            return "it says more or less than a line or two"
        if not any(name.casefold() in error.casefold() for name in self.names):
            return f"it names none of {', '.join(self.names)}"
        return None


def _status(text: str) -> object:
    try:
        return json.loads(text)["status"]
    except (ValueError, KeyError, TypeError):
        return None


def _records(folder: Path) -> dict[Path, str]:
    return {path: path.read_text(errors="replace") for path in folder.rglob("run.json") if path.is_file()}


class Worker:
    """worker.py as a process, started anew when it is lost."""

    def __init__(self, home: Path):
        cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()  # where the compiled kernel is
        own = {"HOME": str(home), "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        strange = ("LPSS_", "HYDRA_")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(strange)} | own
        self.process = None

    def __call__(self, argv: Sequence[str], folder: Path, **options) -> dict:
        if self.process is None:
            command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen(command, text=True, env=self.environment, **pipes)
        try:
            print(json.dumps({"argv": list(argv), "cwd": str(folder), **options}), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            self.stop()
            return {"code": None, "stdout": "", "stderr": "the worker is gone", "on_disk": []}

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="session")
def worker(tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("home"))
    yield worker
    worker.stop()


@pytest.fixture(scope="session")
def case():
    """The class `Case`, since test modules cannot import this one."""
    return Case


@pytest.fixture
def attempt(worker, tmp_path):
    """attempt(cases, run) tries each and fails with what went wrong; `run` stands in for the worker. Returns why cases
    could not be tried here."""

    def attempt(cases: Sequence[Case], run=worker) -> set[str]:
        problems, impossible = [], set()
        for number, case in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            case.prepare(folder)
            before = _records(folder)
            answer = run(case.argv, folder, **case.options)
            if "impossible" in answer:
                impossible.add(answer["impossible"])
            elif problem := case.problem(answer, before, _records(folder)):
                problems.append(
                    f"{problem}: {' '.join(map(repr, case.argv))} {case.options or ''}\n(in {folder})\n"
                    f"exit code {answer['code']}, stderr:\n{answer['stderr'][-2000:]}"
                )
        if problems:
            pytest.fail(f"{len(problems)} of {len(cases)} cases\n\n" + "\n\n".join(problems), pytrace=False)
        return impossible

    return attempt
