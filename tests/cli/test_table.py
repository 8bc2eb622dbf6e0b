import json
import subprocess
import sys

import pytest

from lpss.cli.table import main

RUN = {"schema": 1, "status": "finished", "experiment": "x", "dataset": "cifar10", "model": "wrn", "method": "set"}
RUN |= {"sparsity": 0.9, "seed": 0, "accuracy_last": 0.92, "accuracy_best": 0.93, "evaluated_on": "test"}
RUN |= {"sparsity_weights": 0.9, "config": {}, "config_hash": "h"}


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


def test_what_can_be_told_apart_is_the_same_from_folders_and_results_csv(outputs, tmp_path, monkeypatch):
    for seed in range(3):
        folder = outputs / f"lpss{seed}"
        folder.mkdir()
        run = RUN | {"method": "lpss", "seed": seed, "accuracy_last": 0.9 + 0.01 * seed, "config_hash": "i"}
        (folder / "run.json").write_text(json.dumps(run))
    monkeypatch.chdir(tmp_path)
    for path, to in (("outputs", "a"), ("results.csv", "b")):
        assert main([path, "--paired", f"{to}.md", "--ranks", f"{to}.svg", "--results", "results.csv"]) == 0
        assert main([path, "--paired", f"{to}.csv", "--ranks", f"{to}.png"]) == 0
    for suffix in ("md", "csv", "svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert "SET .9250 |   2 |      -2.00 |" in (tmp_path / "a.md").read_text()


def test_another_source(outputs, capsys):
    assert main([str(outputs), "--source", "rigl-authors-erk"]) == 0
    assert "Published: nothing for these cells" in capsys.readouterr().out  # they did not publish SET


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 2, "nowhere: no such file or folder"),
        (["empty"], 2, "no runs (run.json files) in empty"),
        (["outputs", "--source", "papr"], 2, "unknown source 'papr', did you mean 'paper'?"),
        (["outputs", "--output", "empty"], 1, "empty could not be written"),
        (["outputs", "--results", "outputs/cifar10/run0/run.json/x.csv"], 1, "could not be written"),
        (["outputs", "--figure", "a.bmp"], 2, "cannot draw a.bmp"),
        (["outputs", "--paired", "a.txt"], 2, "cannot write a.txt: use a name that ends in .md or .csv"),
        (
            ["outputs", "--paired", "a.csv"],
            2,
            "no data set and sparsity with runs of lpss and of another",
        ),
        (["outputs", "--ranks", "a.bmp"], 2, "cannot draw a.bmp"),
        (["outputs", "--ranks", "a.png"], 2, "no data set and sparsity with runs of two sparse methods"),
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


def test_one_experiment_of_several(outputs, capsys):
    other = RUN | {"experiment": "other", "accuracy_last": 0.5, "config_hash": "o"}
    (outputs / "other").mkdir()
    (outputs / "other/run.json").write_text(json.dumps(other))
    assert main([str(outputs), "--experiment", "other"]) == 0
    out = capsys.readouterr().out
    assert ".5000" in out and ".92" not in out
    assert main([str(outputs), "--experiment", "othr"]) == 2
    assert "--experiment othr: no such runs, did you mean 'other'?" in capsys.readouterr().err


def test_a_rule_for_p_is_one_setting(outputs, capsys):
    rules = [{"0.5": 2.0, "0.8": 1.75, "0.9": 1.5}, {"stem": 1.3, "head": None}]
    for i, p in enumerate(rules):
        folder = outputs / f"rule{i}"
        folder.mkdir()
        run = RUN | {"method": "lpss", "config": {"optimizer": {"p": p}}, "config_hash": f"r{i}"}
        (folder / "run.json").write_text(json.dumps(run))
    assert main([str(outputs)]) == 0
    out = capsys.readouterr().out
    assert "optimizer.p={0.5: 2, 0.8: 1.75, 0.9: 1.5}" in out and "optimizer.p={head: null, stem: 1.3}" in out
