"""lpss-train as a user runs it: a process of its own, exit codes, one-line errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("dataset=synthetic", "dataset.train_size=200", "dataset.test_size=50", "train.epochs=1", "train.batch_size=50")


@pytest.fixture
def lpss_train(tmp_path, python):
    """lpss_train(words...): the command in a fork; with real=True as it is installed."""

    def call(*arguments: str, real: bool = False) -> subprocess.CompletedProcess:
        if not real:
            return python("-m", "lpss.cli.train", *arguments, cwd=tmp_path, HOME=os.environ["HOME"])
        program = str(Path(sys.executable).with_name("lpss-train"))
        return subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True)

    return call


def results(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("run.json"))]


def test_one_run_and_its_repetition(lpss_train, tmp_path):
    done = lpss_train(*SMALL, "method=rigl", "sparsity=0.5")
    assert done.returncode == 0, done.stderr
    assert [result["method"] for result in results(tmp_path / "outputs")] == ["rigl"]
    assert "masks cover " in done.stderr and "%|" not in done.stderr  # no progress bar where nobody watches
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").rglob("*.*")}
    again = lpss_train(*SMALL, "method=rigl", "sparsity=0.5", real=True)
    assert again.returncode == 0 and "finished before, skipped" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").rglob("*.*")}
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def test_a_sweep_goes_on_after_a_failed_and_a_diverged_run(lpss_train, tmp_path):
    done = lpss_train("-m", *SMALL, "method=static", "sparsity=0.5,1.5", "optimizer.lr=0.1,1e15", "schedule=constant")
    assert done.returncode == 2
    assert "lpss-train: 4 runs: 1 diverged, 2 failed, 1 finished" in done.stderr
    assert "Traceback" not in done.stderr and "sparsity must be in [0, 1), got 1.5" in done.stderr
    assert sorted(result["status"] for result in results(tmp_path / "outputs")) == ["diverged", "finished"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("method=foo",), "Could not find 'method/foo'"),
        (("metod=lpss",), "metod"),
        (("method.drop=1", "method=rigl"), "method.drop"),
        (("sparsity=abc",), "sparsity"),
        (("optimizer.p=1", *SMALL), "p must be a finite number greater than 1"),
        (("sparsity=[",), "sparsity="),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(lpss_train, tmp_path, arguments, words):
    done = lpss_train(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("run.json"))


def test_missing_data_is_one_line_and_exit_code_1(lpss_train, tmp_path):
    done = lpss_train("dataset=letter", f"data.root={tmp_path}", "data.download=false")
    assert done.returncode == 1
    assert (
        done.stderr.startswith("lpss-train: letter: uci/letter/letter-recognition.data")
        and done.stderr.count("\n") == 1
    )


def test_help_names_the_groups(lpss_train):
    done = lpss_train("--help")
    assert done.returncode == 0
    for word in ("method: acdc, deepr, dense", "dataset: adult", "lpss-table"):
        assert word in done.stdout


DIVERGING = ("schedule=constant", "method=static", "train.epochs=2")


def test_a_run_that_diverged_ends_with_code_1_and_a_line(lpss_train):
    for _ in range(2):  # trained, and skipped
        done = lpss_train(*SMALL, *DIVERGING, "optimizer.lr=1e15")
        assert done.returncode == 1 and done.stderr.endswith("\nlpss-train: the run diverged\n")


@pytest.mark.parametrize(
    "launcher", [(), pytest.param(("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), marks=pytest.mark.slow)]
)
def test_a_sweep_says_what_became_of_its_runs(lpss_train, launcher):
    sweep = (*SMALL, *DIVERGING, *launcher, "-m")  # overrides on both sides of -m
    done = lpss_train(*sweep, "optimizer.lr=0.1,1e15,0.2", real=bool(launcher))
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("\nlpss-train: 3 runs: 1 diverged, 2 finished\n")
    done = lpss_train(*sweep, "optimizer.lr=1e15,1e16", real=bool(launcher))
    assert done.returncode == 1 and done.stderr.endswith("\nlpss-train: 2 runs: 2 diverged\n")


def test_a_diverged_run_still_has_an_accuracy_for_sweepers(tmp_path):
    from hydra.core.hydra_config import HydraConfig

    from lpss.cli.compose import _composed
    from lpss.cli.train import job

    words = [*SMALL, *DIVERGING, "optimizer.lr=1e15", f"output={tmp_path}"]
    HydraConfig.instance().set_config(_composed(words, return_hydra_config=True))
    assert 0 <= job(_composed(words)) <= 1


def test_the_home_folder_and_other_letters_in_output(lpss_train, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for output in ("~/été", "'~/été'"):
        assert lpss_train(*SMALL, f"output={output}", "method=static").returncode == 0
    assert len(results(tmp_path / "home/été")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_force_trains_a_finished_run_again(lpss_train, tmp_path):
    assert lpss_train(*SMALL, "method=static").returncode == 0
    before = results(tmp_path)[0]["finished"], next(tmp_path.rglob("run.json")).stat().st_mtime_ns
    assert lpss_train(*SMALL, "--force", "-m", "method=static").returncode == 0
    assert before != (results(tmp_path)[0]["finished"], next(tmp_path.rglob("run.json")).stat().st_mtime_ns)
