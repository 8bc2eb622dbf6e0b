"""lpss-completion: a shell's name -> a script that makes it complete all commands, their options and settings."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO

import shtab
from hydra._internal.core_plugins.bash_completion import BashCompletion

from lpss.cli import CommandParser, run_command
from lpss.cli.main import COMMANDS, PROGRAM, describe

DESCRIPTION = """Prints a script for the shell. bash: eval "$(lpss completion bash)", in ~/.bashrc to stay. zsh: the
same with zsh, after compinit."""
FILES = ("RUN", "NEW", "FILE", "PATH", "FOLDER", "RESULTS", "DIR")  # metavars of files and folders
# `lpss train` is completed as lpss-train is, by Hydra; anything else by what shtab has written.
BASH = """
_lpss_any() {
  if [ "${COMP_WORDS[1]}" = train ] && [ "$COMP_CWORD" -gt 1 ]; then
    COMP_LINE="lpss-train${COMP_LINE#*train}"
    COMP_CWORD=$((COMP_CWORD - 1))
    hydra_bash_completion
  else
    _shtab_lpss
  fi
}
complete -o nospace -o default -F _lpss_any lpss
"""


def parser() -> argparse.ArgumentParser:
    top = CommandParser(prog="lpss-completion", description=DESCRIPTION)
    top.add_argument("shell", choices=("bash", "zsh"))
    return top


def script(shell: str) -> str:
    """What the shell is to evaluate."""
    parsers = [_parser(command) for command in COMMANDS if command != "train"]
    parts = [shtab.complete(_with_files(one), shell) for one in [*parsers, _all(parsers)]]
    if shell == "zsh":  # reads Hydra's script, which is bash's, too
        return "\n".join([*parts, "autoload -U +X bashcompinit && bashcompinit", _hydras()])
    return "\n".join([*parts, _hydras(), BASH])


def _parser(command: str) -> argparse.ArgumentParser:
    return import_module(f"lpss.cli.{command}").parser()


def _all(parsers: Sequence[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Of the command `lpss`, which hands its words on."""
    top = argparse.ArgumentParser(prog=PROGRAM)
    commands = top.add_subparsers()
    commands.add_parser("train", help=describe("train"), add_help=False)
    for one in parsers:
        name = one.prog.partition("-")[2]
        commands.add_parser(name, help=describe(name), parents=[one], add_help=False)
    return top


def _with_files(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same parser, whose files the shell completes."""
    for action in parser._actions:
        if action.metavar in FILES:
            action.complete = shtab.FILE
        elif isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                _with_files(one)
    return parser


def _hydras() -> str:
    """Hydra's own script for lpss-train."""
    plugin, text = BashCompletion.__new__(BashCompletion), StringIO()
    plugin._get_exec = lambda: "lpss-train"
    with redirect_stdout(text):
        plugin.install()
    return text.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `run_command`)."""
    return run_command("lpss-completion", lambda: print(script(parser().parse_args(argv).shell)))


if __name__ == "__main__":
    sys.exit(main())
