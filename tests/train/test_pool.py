"""Many runs at once: all are tried, none twice, and an interrupt loses nothing that was saved."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lpss.cli.compose import compose_run
from lpss.errors import LpssError
from lpss.train.pool import run_many

SMALL = ("dataset=synthetic", "dataset.train_size=100", "dataset.test_size=50", "train.epochs=1", "device=cpu")


def killed(overrides):
    os.kill(os.getpid(), signal.SIGKILL)


def test_all_are_trained_and_one_failure_stops_no_other(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runs = [(*SMALL, f"output={tmp_path}", f"seed={seed}", *more) for seed in range(3) for more in ((), ("lr=1",))]
    runs.append((*SMALL, f"output={tmp_path}", "seed=0"))  # once more
    outcomes = list(run_many(runs, workers=2, compose=compose_run))
    assert sorted(outcome.overrides for outcome in outcomes) == sorted(runs)
    good = [outcome for outcome in outcomes if outcome.result is not None]
    assert len(good) == 4 and {outcome.result["threads"] for outcome in good} == {1}
    assert all("lr" in outcome.error for outcome in outcomes if outcome.result is None)
    assert sorted(json.loads(path.read_text())["seed"] for path in tmp_path.rglob("run.json")) == [0, 1, 2]
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_killed_worker_is_said():
    with pytest.raises(LpssError, match="killed"):
        list(run_many([("seed=1",)], workers=1, compose=killed))


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, -signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interrupt_saves_the_runs_in_flight(tmp_path, number, code):
    long = (*SMALL, "dataset.train_size=2000", "train.epochs=10000", f"output={tmp_path}")
    script = tmp_path / "sweep.py"
    script.write_text(
        "import signal\nfrom lpss.cli.compose import compose_run\nfrom lpss.train.pool import run_many\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background jobs lack
        f"if __name__ == '__main__':\n    list(run_many([{long}] * 3, workers=1, compose=compose_run))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, str(script)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.rglob("checkpoint.pt")) and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert process.returncode == code, error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever has not ended trains on for hours
    (log,) = tmp_path.rglob("run.log")
    assert log.read_text().count("interrupted and saved") == 1 and not list(tmp_path.rglob("run.json"))
