"""Sweeps on other engines than Hydra's own: the same numbers bit by bit, and no run lost to another's failure."""

import json
import os
import secrets
import subprocess
import sys
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


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_on_another_engine(launcher, expected, tmp_path):
    engine = launcher.split("_")[0]
    pytest.importorskip(f"hydra_plugins.hydra_{engine}_launcher", reason=f"needs pip install 'lpss[{engine}]'")
    options = (f"hydra/launcher={launcher}", *LAUNCHERS[launcher])

    done = sweep(tmp_path, *options, "method=rigl,lpss", "seed=0,-1,1")  # runs with seed -1 are impossible
    assert done.returncode == 2, done.stderr
    assert "lpss-train: seed must be in [0, 2^31), got -1" in done.stderr and "Traceback" not in done.stderr
    assert len(expected) == 4 and all(status == "finished" for status, *_ in expected.values())
    assert results(tmp_path) == expected

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/*/*/*/*")}
    again = sweep(tmp_path, *options, "method=lpss", "seed=0,1")
    assert again.returncode == 0, again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/*/*/*/*")}
