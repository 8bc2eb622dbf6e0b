"""What a shell completes, asked in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lpss.cli.completion import main, script
from lpss.cli.main import COMMANDS

# What bash would do for a line that ends with a word to be completed.
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
function=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function" "$1" "${COMP_WORDS[$COMP_CWORD]}"
echo "${COMPREPLY[*]}"
"""


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """bash(words...) -> what it offers for the last one."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    file = tmp_path_factory.mktemp("completion") / "lpss.bash"
    file.write_text(script("bash"))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def ask(*words) -> list[str]:
        command = ["bash", "-c", ASK, "bash", str(file), *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120).stdout.split()

    return ask


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("lpss", ""), set(COMMANDS)),
        (("lpss", "ta"), {"table"}),
        (("lpss", "table", "--fo"), {"--format"}),
        (("lpss-table", "--form"), {"--format"}),
        (("lpss-export", "--format", "n"), {"npz"}),
        (("lpss", "export", "--format", "n"), {"npz"}),
        (("lpss-predict", "--ke"), {"--keep"}),
    ],
)
def test_bash_completes_commands_and_options(bash, words, offered):
    assert set(bash(*words)) == offered


@pytest.mark.parametrize("words", [("lpss-train", "dataset=lett"), ("lpss", "train", "dataset=lett")])
def test_bash_completes_settings(bash, words):
    if shutil.which("lpss-train", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("lpss-train is not installed beside this Python")
    assert bash(*words) == ["dataset=letter"]


def test_zsh_completes_every_command(tmp_path):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    file = tmp_path / "lpss.zsh"
    file.write_text(script("zsh"))
    names = ["lpss", *(f"lpss-{name}" for name in COMMANDS)]
    show = "for c in " + " ".join(names) + "; print $c=${_comps[$c]}"
    code = f'autoload -U compinit; compinit -u -D; eval "$(cat {file})"; {show}'
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, timeout=60)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert set(found) == set(names) and all(found.values()), done.stderr


def test_the_command_prints_the_script(capsys):
    assert main(["bash"]) == 0 and capsys.readouterr().out == script("bash") + "\n"
    with pytest.raises(SystemExit):
        main(["powershell"])
