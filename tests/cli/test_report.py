import json
import subprocess
import sys

import pytest

from lpss.cli.report import main

RUN = {"schema": 1, "status": "finished", "experiment": "x", "dataset": "cifar10", "model": "wrn", "method": "set"}
RUN |= {"sparsity": 0.9, "seed": 0, "accuracy_last": 0.92, "accuracy_best": 0.93, "evaluated_on": "test"}
RUN |= {"sparsity_weights": 0.9, "config": {}, "config_hash": "h"}


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, change in enumerate(({}, {"seed": 1, "accuracy_last": 0.93}, {"seed": 2, "status": "diverged"})):
        folder = tmp_path / "outputs" / "cifar10" / f"run{i}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(RUN | change))
    return tmp_path / "outputs"


def test_the_default_is_a_report_of_outputs(outputs, capsys):
    assert main([]) == 0
    text = (outputs.parent / "report.html").read_text(encoding="utf-8")
    assert "<title>Sparse training: outputs</title>" in text and ".9250 ± .0071" in text
    out, err = capsys.readouterr()
    assert out == "" and err == "lpss-report: wrote report.html: 3 runs, 0.1 MB\n"


def test_title_experiment_and_place(outputs, capsys):
    (outputs / "other").mkdir()
    (outputs / "other/run.json").write_text(
        json.dumps(RUN | {"experiment": "y", "config_hash": "o", "accuracy_last": 0.5})
    )
    assert main(["outputs", "--experiment", "y", "--title", "A & B", "-o", "new/page.htm"]) == 0
    text = (outputs.parent / "new/page.htm").read_text(encoding="utf-8")
    assert "<title>A &amp; B</title>" in text and ".5000" in text and ".9250" not in text
    assert main(["outputs", "outputs/other", "outputs/cifar10", "outputs", "outputs"]) == 0
    assert "<title>Sparse training: outputs, outputs/other, outputs/cifar10 and 2 more</title>" in (
        outputs.parent / "report.html"
    ).read_text(encoding="utf-8")
    assert main(["outputs", "--experiment", "z"]) == 2
    assert "--experiment z: no such runs" in capsys.readouterr().err


def test_what_cannot_be_read_is_a_line_on_stderr_and_on_the_page(outputs, capsys):
    (outputs / "cifar10/run1/run.json").write_text("{")
    (outputs / "cifar10/run0/layers.csv").write_text("a,b\n1,2\n")
    (outputs / "cifar10/half").mkdir()
    (outputs / "cifar10/half/run.log").write_text("")
    assert main([]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines[:2]] == [
        "skipped outputs/cifar10/run1/run.json",
        "skipped outputs/cifar10/run0/layers.csv",
    ]
    text = (outputs.parent / "report.html").read_text(encoding="utf-8")
    assert (
        "<li>skipped outputs/cifar10/run1/run.json: " in text and "<li><code>outputs/cifar10/half</code></li>" in text
    )
    assert "1 diverged, 1 not ended" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 2, "nowhere: no such file or folder"),
        (["empty"], 2, "no runs (run.json files) in empty"),
        (["outputs", "-o", "outputs/cifar10/run0/run.json"], 2, "use a name that ends in .html or .htm"),
        (["outputs", "-o", "folder.html"], 1, "folder.html could not be written: Is a directory"),
        (["outputs", "-o", "outputs/cifar10/run0/run.json/x.html"], 1, "could not be written"),
    ],
)
def test_errors_are_one_line(outputs, capsys, arguments, code, message):
    for name in ("empty", "folder.html"):
        (outputs.parent / name).mkdir()
    before = sorted(outputs.parent.rglob("*"))
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and message in err
    assert sorted(outputs.parent.rglob("*")) == before  # nothing half-written is left


def test_the_page_from_a_results_csv_has_the_same_table(outputs):
    from lpss.cli.table import main as table

    assert table(["--results", "results.csv", "--output", "table.md"]) == 0
    assert main(["results.csv"]) == 0
    assert ".9250 ± .0071<sup>[1]</sup>" in (outputs.parent / "report.html").read_text(encoding="utf-8")


def test_it_starts_without_what_takes_long_to_load():
    code = "import sys, lpss.cli.report; assert not {'torch', 'scipy', 'matplotlib', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
