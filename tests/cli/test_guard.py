"""What the commands share: one line for a user's mistake, a full disk, or a reader that leaves early."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lpss
from lpss.cli import run_command
from lpss.errors import DataError, UsageError


def test_exit_codes_and_one_line(capsys):
    def fail(error):
        raise error

    assert run_command("cmd", lambda: None) == 0
    assert run_command("cmd", lambda: 3) == 3
    assert run_command("cmd", lambda: fail(UsageError("no"))) == 2
    assert run_command("cmd", lambda: fail(DataError("gone"))) == 1
    assert capsys.readouterr().err == "cmd: no\ncmd: gone\n"


def call(*words: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess:
    """A command as the shell starts it, with stdout or stderr redirected."""
    command = " ".join(shlex.quote(word) for word in (sys.executable, "-m", *words))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""} | environment
    return subprocess.run(f"{command} {redirect}", shell=True, capture_output=True, text=True, env=environment)


@pytest.fixture
def results(tmp_path) -> str:
    """Two runs, so that the table has a plus-minus sign."""
    for seed in (0, 1):
        (tmp_path / f"{seed}").mkdir()
        run = {"schema": 1, "status": "finished", "method": "set", "dataset": "digits", "model": "mlp", "config": {}}
        run |= {"sparsity": 0.9, "seed": seed, "accuracy_last": 0.9 + seed / 100, "accuracy_best": 0.9}
        run |= {"evaluated_on": "test", "config_hash": "h"}
        (tmp_path / f"{seed}" / "run.json").write_text(json.dumps(run))
    return str(tmp_path)


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_what_an_ascii_terminal_cannot_show_is_replaced(results, environment):
    done = call("lpss.cli.table", results, **environment)
    assert done.returncode == 0 and ".9050 ? .0071" in done.stdout and "Traceback" not in done.stderr


def test_a_closed_stdout_or_stderr_is_no_error(results, tmp_path):
    assert call("lpss.cli.table", results, redirect=">&-").returncode == 0
    done = call("lpss.cli.table", results, redirect="2>&-")
    assert done.returncode == 0 and ".9050 ± .0071" in done.stdout
    assert call("lpss.cli.table", "nowhere", redirect="2>&-").returncode == 2
    # A file opened in the closed one's place must not get what is printed.
    out = tmp_path / "t.md"
    assert call("lpss.cli.table", results, "--output", str(out), redirect=">&- 2>&-").returncode == 0
    assert "lpss-table:" not in out.read_text() and ".9050" in out.read_text()


LONG = [pytest.param(one, marks=pytest.mark.slow) for one in ("2>&-", ">&-", ">&- 2>&-")]


@pytest.mark.parametrize("redirect", [*LONG, "2>/dev/full"])
def test_a_run_does_not_need_its_terminal(tmp_path, redirect):
    few = ("dataset=synthetic", "dataset.train_size=100", "train.max_steps=2", f"output={tmp_path}/runs")
    done = call("lpss.cli.train", *few, redirect=redirect)
    assert done.returncode == 0 and len(list(tmp_path.rglob("run.json"))) == 1


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        ("lpss.cli.table", "RESULTS"),
        ("lpss.cli.data",),
        ("lpss.cli.theory", "--d", "9", "--p", "1.2"),
        ("lpss.cli.train", "--cfg", "job"),
        ("lpss.cli.train", "--info", "config"),
        ("lpss.cli.train", "--help"),
        ("lpss.cli.figures", "--version"),
    ],
)
def test_a_full_disk_is_one_line_and_code_1(results, command):
    words = [results if word == "RESULTS" else word for word in command]
    done = call(*words, redirect=f"> {FULL}")
    lines = [line for line in done.stderr.splitlines() if " runs: " not in line]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1 and lines[0].endswith("cannot write the output: No space left on device")


@pytest.mark.parametrize("words", [("--help",), ("--info", "config"), ("--cfg", "job")])
def test_lpss_train_does_not_mind_a_reader_that_leaves(words):
    done = call("lpss.cli.train", *words, redirect="| head -1")
    assert done.stderr == ""


def test_a_backend_of_pyplots_does_not_matter(results, tmp_path):
    done = call("lpss.cli.table", results, "--figure", str(tmp_path / "f.png"), MPLBACKEND="no_such_backend")
    assert done.returncode == 0 and (tmp_path / "f.png").exists(), done.stderr


@pytest.mark.parametrize("name", ["train", "table", "data", "theory", "figures"])
def test_every_command_has_its_version(name):
    done = call(f"lpss.cli.{name}", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lpss-{name} {lpss.__version__}\n", "")


def test_ctrl_c_is_one_line(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert run_command("cmd", interrupted) == 130
    assert capsys.readouterr().err == "cmd: interrupted\n"


def test_a_reader_that_leaves_early_is_no_error():
    code = "import sys; from lpss.cli import run_command; sys.exit(run_command('cmd', lambda: print('x' * 10**6)))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0
