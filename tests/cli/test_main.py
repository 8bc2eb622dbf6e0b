"""`lpss`: one name for all commands."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lpss
from lpss.cli import main as module
from lpss.cli.main import COMMANDS, describe, main

SCRIPTS = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()


@pytest.fixture
def call(monkeypatch, capsys):
    """call(words...) -> exit code, stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lpss", *words])
        try:
            code = main()
        except SystemExit as ended:  # argparse's
            code = ended.code
        return code, *capsys.readouterr()

    return run


def test_every_command_has_a_name_of_its_own_and_the_other_way_round():
    for name in COMMANDS:
        assert f'lpss-{name} = "lpss.cli.{name}:main"' in SCRIPTS and len(describe(name)) > 20
        command = importlib.import_module(f"lpss.cli.{name}")
        assert callable(command.main) and (name == "train" or command.parser().prog == f"lpss-{name}")
    assert SCRIPTS.count(':main"') == len(COMMANDS) + 1


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_them(call, words):
    code, out, _ = call(*words)
    assert code == 0 and all(f"\n  {name} " in out for name in COMMANDS)


def test_words_go_to_the_command(call):
    assert call("--version") == (0, f"lpss {lpss.__version__}\n", "")
    assert call("table", "--version") == (0, f"lpss-table {lpss.__version__}\n", "")
    code, out, _ = call("train", "--list", "schedule")
    assert code == 0 and out.startswith("schedule=")


def test_an_unknown_command_is_a_line(call):
    code, out, err = call("tabel", "x")
    assert (code, out) == (2, "") and err.startswith("lpss: there is no command 'tabel', did you mean 'table'?")
    assert err.count("\n") == 1


def test_help_imports_no_command(tmp_path):
    code = f"import sys; sys.argv = ['lpss']; import {module.__name__} as m; m.main(); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.endswith("False\n"), done.stderr
