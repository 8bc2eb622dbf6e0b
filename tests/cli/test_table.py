import json
import subprocess
import sys

import pytest

from lpss.cli.table import main

RUN = {
    "schema": 1, "status": "finished", "experiment": "x", "dataset": "cifar10", "model": "wrn",
    "method": "set", "sparsity": 0.9, "seed": 0, "accuracy_last": 0.92, "accuracy_best": 0.93,
    "evaluated_on": "test", "sparsity_weights": 0.9, "config": {}, "config_hash": "h",
}  # fmt: skip


@pytest.fixture
def outputs(tmp_path):
    for i, change in enumerate(({}, {"seed": 1, "accuracy_last": 0.93}, {"seed": 2, "status": "diverged"})):
        folder = tmp_path / "outputs" / "cifar10" / f"run{i}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(RUN | change))
    return tmp_path / "outputs"


def test_the_default_path_is_outputs(outputs, capsys, monkeypatch):
    monkeypatch.chdir(outputs.parent)
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert ".9250 ± .0071 [1]" in out and out.startswith("| Data set")
    assert err.splitlines() == [
        "lpss-table: 3 runs: 2 finished, 1 diverged, 0 failed",
        "lpss-table: diverged, not averaged: outputs/cifar10/run2",
    ]


def test_files_and_the_way_back(outputs, tmp_path, capsys):
    results, first, second = tmp_path / "new/results.csv", tmp_path / "a.tex", tmp_path / "b.tex"
    common = ["--format", "latex", "--layout", "wide", "--published"]
    assert main([str(outputs), *common, "--output", str(first), "--results", str(results)]) == 0
    assert main([str(results), *common, "--output", str(second), "--figure", str(tmp_path / "f.png")]) == 0
    assert first.read_bytes() == second.read_bytes() and b".9105 (+1.45)" in first.read_bytes()
    assert (tmp_path / "f.png").stat().st_size > 5000 and capsys.readouterr().out == ""


def test_another_source(outputs, capsys):
    assert main([str(outputs), "--source", "rigl-authors-erk"]) == 0
    assert "Published: nothing for these cells" in capsys.readouterr().out  # they did not publish SET


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 2, "nowhere: no such file or folder"),
        (["empty"], 2, "no runs (run.json files) in empty"),
        (["outputs", "--source", "papr"], 2, "unknown source 'papr', did you mean 'paper'?"),
        (["outputs", "--output", "empty"], 1, "cannot write empty"),
        (["outputs", "--results", "outputs/cifar10/run0/run.json/x.csv"], 1, "cannot write outputs/"),
        (["outputs", "--figure", "a.bmp"], 2, "cannot draw a.bmp"),
    ],
)
def test_errors_are_one_line(outputs, capsys, monkeypatch, arguments, code, message):
    monkeypatch.chdir(outputs.parent)
    (outputs.parent / "empty").mkdir()
    assert main(arguments) == code
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if "averaged" not in line and " runs: " not in line]
    assert out == "" and len(errors) == 1 and message in errors[0]


def test_a_broken_file_is_a_line_on_stderr(outputs):
    (outputs / "cifar10/run1/run.json").write_text("{")
    command = [sys.executable, "-m", "lpss.cli.table", str(outputs)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].startswith(f"skipped {outputs}/cifar10/run1/run.json: ")
    assert len(done.stderr.splitlines()) == 3
