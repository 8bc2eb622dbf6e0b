"""lpss-runs: what each command prints, asks and returns."""

import io
import json
import shutil
import subprocess
import sys
import time

import pytest

from lpss.cli.runs import main
from lpss.record import RunFolder
from lpss.report.collect import collect, to_results_csv
from lpss.runs.contents import files_of
from lpss.runs.folders import read
from lpss.train.run import run


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def outputs(run_folder, tmp_path):
    """Three that finished, one each that failed, diverged and was interrupted."""
    for seed in range(3):
        run_folder(seed=seed, method="lpss", accuracy_last=0.9 + seed / 100)
    run_folder("failed", folder="failed", accuracy_last=None, error="RuntimeError: out of memory", config_hash="fa11ed")
    run_folder("diverged", folder="diverged", accuracy_last=0.1, config_hash="d1")
    run_folder(None, seed=7)
    return tmp_path / "outputs"


@pytest.fixture
def called(capsys):
    """called(words...) -> (exit code, lines of stdout, lines of stderr)"""

    def call(*words):
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as stopped:  # argparse
            code = stopped.code
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


def answer(monkeypatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def left(outputs) -> int:
    return len(list(outputs.rglob("config.yaml")))


def test_list(outputs, called):
    code, lines, said = called("list", "--where", "method=lpss accuracy_last>.9", "--sort", "-accuracy_last")
    assert code == 0 and said == ["lpss-runs: 2 of 6 runs"]
    assert [line.split()[4] for line in lines] == ["seed", "2", "1"] and "outputs/digits-mlp/lpss-s0.9" in lines[1]
    columns = ("--columns", "status,seed,train.epochs")
    code, lines, said = called("list", "outputs", *columns, "--limit", "1", "--sort", "seed")
    assert lines[0].split() == ["status", "seed", "train.epochs"] and len(lines) == 2
    assert said == ["lpss-runs: 6 runs, the first 1 shown"]
    assert called("list", "--where", "seed=99")[:2] == (0, [])


def test_list_and_show_read_a_table_whose_runs_are_gone(outputs, called):
    to_results_csv(collect(outputs), "results.csv")
    shutil.rmtree(outputs)
    code, lines, said = called("list", "results.csv", "--where", "status=failed", "--format", "json")
    (row,) = json.loads("\n".join(lines))
    assert (code, row["error"], row["config"]["method"]["name"]) == (0, "RuntimeError: out of memory", "set")
    assert called("show", "fa11ed", "results.csv")[1][0] == f"{outputs}/failed: failed"


def test_show_and_diff(outputs, called):
    assert "  RuntimeError: out of memory" in called("show", "outputs/failed")[1]
    code, lines, _ = called("diff", "fa11", "outputs/diverged/run.json")
    assert code == 0 and any(line.split() == ["status", "failed", "diverged"] for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "nowhere"], "lpss-runs: nowhere: no such file or folder"),
        (["list", "--where", "metod=set"], "lpss-runs: --where: no run has 'metod', did you mean 'method'?"),
        (["list", "--where", "method"], "lpss-runs: --where method: a term is NAME=VALUE"),
        (["list", "--sort", "-acc"], "lpss-runs: --sort: no run has 'acc'"),
        (["list", "--columns", "train.epoch"], "did you mean 'train.epochs'?"),
        (["list", "--limit", "0"], "argument --limit: must be a whole number of at least 1"),
        (["list", "--format", "xml"], "argument --format: invalid choice: 'xml'"),
        (["show", "fa11ed", "nowhere"], "lpss-runs: nowhere: no such file or folder"),
        (["show", "beef"], "lpss-runs: beef: no run with a hash that begins so, in outputs"),
        (["diff", "fa11"], "the following arguments are required: RUN"),
        (["delete"], "lpss-runs: delete: say which runs with --where, or name the folder of each"),
        (["delete", "outputs/digits-mlp", "--yes"], "lpss-runs: delete: say which runs"),
        (["delete", "--where", "status=fialed", "--yes"], "no such status, did you mean 'failed'?"),
        (["delete", "r.csv", "--where", "seed=1"], "lpss-runs: r.csv is no folder that holds runs"),
        (["watch", "--every", "0"], "argument --every: must be a number of seconds of at least 0.1"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_command_is_a_line(outputs, called, tmp_path, words, message):
    (tmp_path / "r.csv").touch()
    code, lines, said = called(*words)
    assert code == 2 and lines == [] and message in said[-1] and left(outputs) == 6


def test_delete_asks(outputs, called, monkeypatch):
    for text in ("n\n", "\n", "nonsense\n"):
        answer(monkeypatch, text)
        code, lines, _ = called("delete", "--where", "status=failed,diverged")
        assert code == 0 and lines[-1].endswith("nothing is deleted") and left(outputs) == 6
    assert [line.split()[0] for line in lines[:3]] == ["status", "diverged", "failed"]
    assert lines[3].startswith("Delete 2 runs, 1.") and "kB? [y/N] " in lines[3]
    answer(monkeypatch, "Y\n")
    code, lines, _ = called("delete", "--where", "status=failed,diverged")
    assert code == 0 and "deleted 2 of 2 runs, 1." in lines[-1] and left(outputs) == 4


@pytest.mark.parametrize("stdin", [io.StringIO(""), None])
def test_where_nobody_answers_nothing_is_deleted(outputs, called, monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    code, _, said = called("delete", "--where", "status=failed")
    assert code == 2 and said == ["lpss-runs: delete: nobody answers; --yes deletes without asking"]
    assert left(outputs) == 6


def test_delete_by_folder_and_of_nothing(outputs, called):
    assert called("delete", "outputs/failed", "outputs/diverged/run.json", "--yes")[0] == 0 and left(outputs) == 4
    assert called("delete", "--where", "status=failed", "--yes")[:2] == (0, ["nothing is deleted"])


def test_of_many_runs_only_some_are_named(outputs, run_folder, called, monkeypatch):
    for seed in range(30):
        run_folder("failed", seed=seed)
    answer(monkeypatch, "n\n")
    lines = called("delete", "--where", "status=failed")[1]
    assert len(lines) == 1 + 20 + 2 and lines[21] == "... and 11 more"


def test_delete_leaves_out_what_is_being_trained_and_says_what_stayed(outputs, called):
    (outputs / "diverged/notes.md").touch()
    with RunFolder(outputs / "failed").lock():
        code, lines, said = called("delete", "--where", "method=set", "--yes")
    assert (code, lines[-1].startswith("deleted 1 of 2 runs")) == (1, True)
    assert said[0] == "lpss-runs: left out 1 that are being trained"
    assert said[1].endswith("/diverged: it holds what is not the run's: notes.md")
    assert (outputs / "failed/run.json").exists()


def test_forget(outputs, called):
    code, lines, _ = called("forget", "--where", "method=set")
    assert code == 0 and lines == ["outputs/diverged", "outputs/failed", "forgot 2 of 2 runs"]
    assert (outputs / "diverged/run.previous.json").exists() and len(list(outputs.rglob("run.json"))) == 3
    assert called("forget")[1] == ["forgot 0 of 0 runs"]  # never what has finished


def test_disk(outputs, called):
    code, lines, _ = called("disk", "--where", "method=lpss")
    assert code == 0 and lines[1].split()[:4] == ["-", "digits", "lpss", "3"]


def test_watch_prints_one_snapshot_where_there_is_no_terminal(outputs, called):
    code, lines, _ = called("watch", "--where", "status!=finished", "--total", "9")
    assert code == 0 and lines[0] == "3 of 9 runs: 1 interrupted, 1 diverged, 1 failed"


def on_a_terminal(monkeypatch) -> None:
    """Of four lines of 40 characters."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "4")


def test_watch_refreshes_in_place_until_all_have_ended(outputs, called, monkeypatch):
    on_a_terminal(monkeypatch)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            RunFolder(next(outputs.glob("*/set-s0.9/*"))).write_result(
                {"schema": 1, "status": "finished", "dataset": "d", "method": "m", "accuracy_last": 1}
            )

    monkeypatch.setattr(time, "sleep", sleep)
    code, lines, _ = called("watch", "--total", "6", "--every", "5")
    assert code == 0 and looks == [5, 5]
    screens = "\n".join(lines).split("\x1b[H\x1b[J")[1:]
    assert len(screens) == 3 and "4 finished" in screens[2] and "4 finished" not in screens[1]
    assert all(len(screen.splitlines()) <= 3 and max(map(len, screen.splitlines())) <= 40 for screen in screens)


def test_watch_ends_with_ctrl_c(outputs, called, monkeypatch):
    on_a_terminal(monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    assert called("watch")[::2] == (130, ["lpss-runs: interrupted"])


def test_a_run_as_it_was_trained(composed, called, tmp_path):
    settings = ("dataset=digits", "method=lpss", "train.epochs=1", "train.max_steps=2", "train.batch_size=16")
    result = run(composed(*settings))
    (folder,) = tmp_path.glob("outputs/*/*/*")
    assert {file.path.name for file in files_of(folder)} == {path.name for path in folder.iterdir()}
    code, lines, _ = called("list", "--where", f"config_hash={result['config_hash']} train.max_steps=2")
    assert code == 0 and lines[1].startswith("finished  digits   lpss")
    ended = read(folder)
    RunFolder(folder).set_aside()
    begun = read(folder)
    for name in ("experiment", "dataset", "model", "method", "optimizer", "sparsity", "seed", "evaluated_on"):
        assert begun[name] == ended[name]
    assert begun["config_hash"] == ended["config_hash"] and json.loads(begun["config"]) == json.loads(ended["config"])
    assert called("delete", "outputs", "--where", "status=interrupted", "--yes")[0] == 0 and not folder.exists()
    run(composed(*settings))
    assert len(list(folder.iterdir())) == 7


def test_it_starts_without_what_takes_long_to_load():
    code = "import sys, lpss.cli.runs; assert not {'torch', 'scipy', 'matplotlib', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
