"""Two sweeps share one output folder and are killed at random moments; in the end every run is there once, intact."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from lpss.report.collect import collect

KILLS = 12
SWEEP = (
    *("dataset=digits", "method=lpss,rigl,set", "seed=0,1", "sparsity=0.8", "device=cpu", "threads=1"),
    *("train.epochs=40", "train.checkpoint_every=1"),
)
TIMES = ("wall_time_s", "started", "finished", "peak_memory_bytes")


def start(output: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "lpss.cli.train", "-m", *SWEEP, f"output={output}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen) -> str:
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    return said


def content(output: Path) -> dict:
    """Run folder -> everything in it except times."""
    found = {}
    for path in output.rglob("run.json"):
        folder = path.parent
        result = {key: value for key, value in json.loads(path.read_text()).items() if key not in TIMES}
        result["config"].pop("output")
        metrics = pd.read_csv(folder / "metrics.csv", dtype=str).drop(columns=["seconds", "samples_per_second"])
        files = [(folder / name).read_bytes() for name in ("weights.safetensors", "layers.csv")]
        names = sorted(entry.name for entry in folder.iterdir() if entry.name != ".lock")
        found[str(folder.relative_to(output))] = (result, metrics.to_csv(), files, names)
    return found


@pytest.mark.slow
def test_sweeps_killed_many_times_end_as_if_nothing_had_happened(tmp_path, caplog):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    begun = time.monotonic()
    finish(start(whole))
    span = time.monotonic() - begun
    expected = content(whole)
    assert len(expected) == 6

    draw, looks = random.Random(0), 0
    workers = [start(cut), start(cut)]
    for kill in range(2 * KILLS):
        if kill >= KILLS and looks:
            break
        longest = 0.3 if kill < KILLS else 1.0  # where none of the runs had time to end, they get it
        time.sleep(min(span, 30) * draw.uniform(0.01, longest))
        victim = draw.randrange(2)
        workers[victim].send_signal(signal.SIGKILL)
        workers[victim].communicate()
        workers[victim] = start(cut)
        if any(cut.rglob("run.json")):  # a reader in the middle of it sees whole runs alone
            looks += 1
            assert set(collect(cut)["status"]) == {"finished"}
    for worker in workers:
        finish(worker)
    assert "skipped" in finish(start(cut))

    assert looks and not caplog.records
    assert content(cut) == expected
