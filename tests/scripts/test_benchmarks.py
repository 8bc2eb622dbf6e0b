"""The benchmarks still run, and write what they print; no times are asserted."""

import json
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = {
    "bench_loop.py": ["--datasets", "digits", "--turns", "1", "--threads", "1"],
    "bench_optimizer.py": ["--nets", "letter", "--p", "1.2", "--rounds", "1", "--threads", "1"],
    "bench_sweep.py": ["--dataset", "digits", "--runs", "2", "--processes", "1", "--steps", "5", "--rounds", "1"],
}


LONG = ("bench_loop.py", "bench_sweep.py")


@pytest.mark.parametrize("script", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in SMALL])
def test_a_benchmark_runs(python, script, tmp_path):
    done = python(SCRIPTS / script, *SMALL[script], "--json", tmp_path / "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert rows and all(value is not None for row in rows for value in row.values())
