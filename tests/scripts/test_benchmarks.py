"""The benchmarks still run, and write what they print; no times are asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = {
    "bench_loop.py": ["--datasets", "digits", "--turns", "1", "--threads", "1"],
    "bench_optimizer.py": ["--nets", "letter", "--p", "1.2", "--rounds", "1", "--threads", "1"],
    "bench_sweep.py": ["--dataset", "digits", "--runs", "2", "--processes", "1", "--steps", "5", "--rounds", "1"],
}


@pytest.mark.parametrize("script", SMALL)
def test_a_benchmark_runs(script, tmp_path):
    command = [sys.executable, str(SCRIPTS / script), *SMALL[script], "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert rows and all(value is not None for row in rows for value in row.values())
