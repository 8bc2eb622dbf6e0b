"""The script of `make reproduce-table4`: from nothing to tables, and that it trains no run twice."""

import logging
import runpy
import subprocess
import sys
from argparse import Namespace
from concurrent.futures import Executor, Future
from pathlib import Path

import pandas as pd
import pytest

from lpss.cli.compose import compose_run

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "reproduce_table4.py"
FEW = ("--datasets", "climate,mnist", "--methods", "dense,static,lpss", "--sparsities", "0.9", "--images", "no")


class InThisProcess(Executor):
    """Stands in for the pool's processes, each of which would import torch."""

    def __init__(self, *arguments, **options):
        pass

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def reproduce(tmp_path, monkeypatch):
    """reproduce(arguments...) -> the exit code of the script, run in this process."""
    log = logging.getLogger("lpss")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate  # the pool's runs change these
    monkeypatch.setattr("lpss.train.pool.ProcessPoolExecutor", InThisProcess)
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(SCRIPT))["main"]

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *FEW, "--output", "out", *arguments])
        return main()

    yield run
    log.handlers, log.propagate = handlers, propagate
    log.setLevel(level)


@pytest.mark.slow
def test_tables_from_nothing_and_again(real_uci, reproduce, tmp_path):
    settings = ("--tables", "table4", "train.max_steps=30", f"data.root={real_uci}")
    command = [sys.executable, str(SCRIPT), *FEW, "--output", "out", "--workers", "1", *settings, "--seeds", "0,1"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "table4/mnist: left out without a GPU (--images yes to train it); about" in first.stdout
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
    assert reproduce(*settings, "--seeds", "0,1") == 0
    assert pd.read_csv(out / "results.csv")["finished"].tolist() == finished
    assert tables == {path.name: path.read_bytes() for path in out.glob("table4*")}

    # Elsewhere, with results.csv alone: --trust trains what is new, the table keeps what is old.
    for path in (out / "runs").rglob("run.json"):
        path.unlink()
    assert reproduce(*settings, "--seeds", "0,1,2", "--trust") == 0
    assert len(pd.read_csv(out / "results.csv")) == 9 and len(list((out / "runs").rglob("run.json"))) == 3


def test_a_failure_is_said_and_the_rest_goes_on(real_uci, reproduce, tmp_path, capsys):
    settings = ("--tables", "table4", "--seeds", "0,-1", "train.max_steps=3", f"data.root={real_uci}")
    assert reproduce(*settings) == 1
    said = capsys.readouterr().err
    assert said.count("failed: experiment=table4/climate") == 3
    assert "seed must be in [0, 2^31), got -1" in said
    assert len(pd.read_csv(tmp_path / "out/results.csv")) == 3


def test_every_method_but_controls_and_other_readings_is_in_the_table_of_all(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = runpy.run_path(str(SCRIPT))
    args = Namespace(seeds=["0"], tables=["mnist_lenet"], sparsities=["0.9", "0.99"], output="out", overrides=[])
    args.datasets, args.images = ["mnist", "letter"], "auto"  # of which the table has the first alone
    args.methods = script["methods"]("all")
    assert {"dense", "set", "lpss", "imp"} < set(args.methods)
    assert not {"lpss_demo", "snip_dynamic", "rigl_random"} & set(args.methods)
    runs = script["planned"](args)
    assert len(runs) == 1 + 2 * (len(args.methods) - 1)
    made = compose_run(next(run for run in runs if "method=snfs" in run))
    assert made.experiment_name == "mnist_lenet" and made.model["hidden"] == [300, 100] and made.train.epochs == 100


@pytest.mark.parametrize(
    "table, images, left_out",
    [("table4", "no", True), ("table4", "yes", False), ("table4_cpu", "auto", False), ("table4_cpu", "no", True)],
)
def test_images_are_left_out_where_they_need_a_gpu_or_are_not_wanted(monkeypatch, capsys, table, images, left_out):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = runpy.run_path(str(SCRIPT))
    chosen = script["chosen_datasets"](Namespace(datasets=None, images=images), table)
    assert ("mnist" in chosen) != left_out and ("letter" in chosen) == (table == "table4")
    assert (f"{table}/mnist: left out" in capsys.readouterr().out) == left_out


@pytest.mark.parametrize("wrong", [("--datasets", "lettter"), ("--tables", "tabel4")])
def test_a_misspelt_name_is_an_error_and_not_nothing_to_do(reproduce, capsys, wrong):
    with pytest.raises(SystemExit, match="2"):
        reproduce("--tables", "table4", *wrong)
    assert wrong[1] in capsys.readouterr().err
