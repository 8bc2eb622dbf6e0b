"""lpss: all commands under one name: lpss train ..., lpss table ..., which are lpss-train, lpss-table."""

import ast
import sys
from importlib import import_module
from pathlib import Path

import lpss
from lpss.cli import print_error, run_command
from lpss.errors import UsageError, suggestion

PROGRAM = "lpss"
# In the order of their use; each is the module lpss/cli/<name>.py with a function `main` and, but for train, `parser`.
COMMANDS = ("train", "table", "report", "runs", "predict", "export", "data", "figures", "theory", "completion")


def main() -> int:
    """Run the command line: that of the command it names. Returns its exit code."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        return run_command(PROGRAM, lambda: print(_help()))
    if words[0] == "--version":
        return run_command(PROGRAM, lambda: print(PROGRAM, lpss.__version__))
    if words[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        print_error(PROGRAM, f"there is no command {words[0]!r}{suggestion(words[0], COMMANDS)}; known: {known}")
        return UsageError.exit_code
    sys.argv = [f"{PROGRAM}-{words[0]}", *words[1:]]
    return import_module(f"lpss.cli.{words[0]}").main()


def describe(command: str) -> str:
    """A command's line in the list: the first of its module's docstring, read without importing it."""
    source = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).partition("\n")[0].partition(": ")[2]


def _help() -> str:
    lines = [f"  {command:12}{describe(command)}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: lpss COMMAND ...     (lpss-COMMAND ... is the same)",
            "",
            *lines,
            "",
            "lpss COMMAND --help says what each takes; `lpss completion bash` makes a shell complete all of it.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
