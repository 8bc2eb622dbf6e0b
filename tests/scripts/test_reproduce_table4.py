"""The script of `make reproduce-table4`: from nothing to tables, and that it trains no run twice."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[2]
FEW = ("--datasets", "climate,mnist", "--methods", "dense,static,lpss", "--sparsities", "0.9", "--images", "no")


def reproduce(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPOSITORY / "scripts/reproduce_table4.py"), *FEW, "--output", "out", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_tables_from_nothing_and_again(real_uci, tmp_path):
    settings = ("--tables", "table4", "train.max_steps=30", f"data.root={real_uci}")
    first = reproduce(tmp_path, *settings, "--seeds", "0,1")
    assert first.returncode == 0, first.stderr
    assert "mnist: left out without a GPU (--images yes to train it); about" in first.stdout
    out = tmp_path / "out"
    results = pd.read_csv(out / "results.csv")
    assert sorted(zip(results["method"], results["seed"], strict=True)) == [
        (method, seed) for method in ("dense", "lpss", "static") for seed in (0, 1)
    ]
    assert set(results["experiment"]) == {"table4"} and set(results["dataset"]) == {"climate"}
    sparse = results[results["method"] != "dense"]
    assert sparse["sparsity_weights"].between(0.8999, 0.9001).all() and results["parameters"].eq(76_738).all()
    tables = {path.name: path.read_bytes() for path in out.glob("table4*")}
    assert {"table4.md", "table4.csv", "table4.tex", "table4_paired.md", "table4_ranks.png"} == set(tables)
    assert ".9214" in tables["table4.md"].decode()  # the paper's LpSS

    finished = results["finished"].tolist()
    again = reproduce(tmp_path, *settings, "--seeds", "0,1")
    assert again.returncode == 0 and pd.read_csv(out / "results.csv")["finished"].tolist() == finished
    assert tables == {path.name: path.read_bytes() for path in out.glob("table4*")}

    # Elsewhere, with results.csv alone: --trust trains what is new, the table keeps what is old.
    for path in (out / "runs").rglob("run.json"):
        path.unlink()
    trusting = reproduce(tmp_path, *settings, "--seeds", "0,1,2", "--trust")
    assert trusting.returncode == 0, trusting.stderr
    assert len(pd.read_csv(out / "results.csv")) == 9 and len(list((out / "runs").rglob("run.json"))) == 3


def test_a_failure_is_said_and_the_rest_goes_on(real_uci, tmp_path):
    settings = ("--tables", "table4", "--seeds", "0,-1", "train.max_steps=3", f"data.root={real_uci}")
    done = reproduce(tmp_path, *settings)
    assert done.returncode == 1 and done.stderr.count("failed: experiment=table4/climate") == 3
    assert "seed must be in [0, 2^31), got -1" in done.stderr
    assert len(pd.read_csv(tmp_path / "out/results.csv")) == 3
