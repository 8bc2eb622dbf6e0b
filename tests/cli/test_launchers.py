"""Sweeps by other launchers than Hydra's own: the same numbers bit by bit, and one failure loses no other run."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SWEEP = ("dataset=digits", "train.epochs=1", "train.max_steps=10")
LAUNCHERS = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    "submitit_local": (),
    "ray": ("+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"),
}


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",  # as many threads everywhere: sums are the same to the last bit
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one into the home folder
    }
    command = [sys.executable, "-m", "lpss.cli.train", "-m", *SWEEP, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)


def results(folder: Path) -> dict:
    """(method, seed) -> what must not depend on the engine."""
    found = [json.loads(path.read_text()) for path in folder.rglob("run.json")]
    keys = ("status", "accuracy_last", "loss_last", "sparsity_weights", "config_hash")
    return {(result["method"], result["seed"]): [result[key] for key in keys] for result in found}


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict:
    """The results of the same sweep, one run after another in one process."""
    folder = tmp_path_factory.mktemp("basic")
    done = sweep(folder, "method=rigl,lpss", "seed=0,1")
    assert done.returncode == 0, done.stderr
    return results(folder)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_on_another_engine(launcher, expected, tmp_path):
    engine = launcher.split("_")[0]
    pytest.importorskip(f"hydra_plugins.hydra_{engine}_launcher", reason=f"needs pip install 'lpss[{engine}]'")
    options = (f"hydra/launcher={launcher}", *LAUNCHERS[launcher])

    done = sweep(tmp_path, *options, "method=rigl,lpss", "seed=0,-1,1")  # runs with seed -1 are impossible
    assert done.returncode == 2 and "6 runs: 2 failed, 4 finished" in done.stderr, done.stderr
    assert "lpss-train: seed must be in [0, 2^31), got -1" in done.stderr and "Traceback" not in done.stderr
    assert len(expected) == 4 and all(status == "finished" for status, *_ in expected.values())
    assert results(tmp_path) == expected

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/*/*/*/*")}
    again = sweep(tmp_path, *options, "method=lpss", "seed=0,1")
    assert again.returncode == 0, again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/*/*/*/*")}


@pytest.mark.parametrize("whole_group", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_interrupted_joblib_sweep_saves_its_runs_and_leaves_no_process(tmp_path, whole_group):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs pip install 'lpss[joblib]'")
    words = ("dataset=digits", "method=static", "seed=0,1,2,3,4,5", "train.epochs=100000", "threads=1")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, "-m", "lpss.cli.train", "-m", *words, *launcher]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while len(saved := list(tmp_path.rglob("checkpoint.*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(saved) == 2
        before = time.monotonic()
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert time.monotonic() - before < 15
        assert process.returncode == 130 and "Traceback" not in said, said
        assert said.count("interrupted and saved after step") == 2 and "2 runs: 2 interrupted" in said
        assert said.endswith("lpss-train: interrupted; the same command continues from the last checkpoint\n")
        assert len(list(tmp_path.rglob("checkpoint.*"))) == 2, "a run that waited was begun"
        deadline = time.monotonic() + 5
        while (left := living(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left
    finally:
        if living(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def living(session: int) -> list[str]:
    """The processes of a session, without zombies."""
    listed = subprocess.run(["ps", "-eo", "sess=,stat=,args="], capture_output=True, text=True).stdout.splitlines()
    return [line for line in listed if line.split()[0] == str(session) and not line.split()[1].startswith("Z")]
