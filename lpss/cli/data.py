"""lpss-data: list the data sets and whether they are on disk and intact, and fetch those that are not."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lpss.cli import CommandParser, run_command
from lpss.data import DATASETS, default_root
from lpss.data.sources import Status, expanded
from lpss.data.store import readable
from lpss.errors import DataError, LpssError
from lpss.files import size_text


def parser() -> argparse.ArgumentParser:
    top = CommandParser(prog="lpss-data", description=__doc__.partition(": ")[2])
    top.add_argument("--root", type=Path, help="the data folder (default: $LPSS_DATA, else ~/.cache/lpss)")
    commands = top.add_subparsers(dest="command", metavar="fetch", parser_class=argparse.ArgumentParser)
    fetch = commands.add_parser("fetch", help="download what is missing of the named sets, check the rest")
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.add_argument("--root", type=Path, default=argparse.SUPPRESS, help="the data folder")
    return top


def show(root: Path) -> None:
    """Print one line per data set; a wrong or missing file is named below it."""
    print(f"data folder: {root}\n")
    print(f"{'name':15}{'state':10}{'size':>8}  {'licence':31}from")
    missing = []
    for name in DATASETS:
        source = DATASETS[name]()
        try:
            with readable(name):
                status = source.status(root)
        except DataError as error:
            status = Status("unreadable", 0, str(error))
        shown = size_text(status.size) if status.size else "-"
        print(f"{name:15}{status.state:10}{shown:>8}  {source.licence:31}{source.origin}")
        if status.detail:
            print(f"{'':15}{status.detail}")
        if status.state == "missing":
            missing.append(name)
    if missing:
        print(f"\nto download what is missing: lpss-data fetch {' '.join(missing)}")


def fetch(root: Path, names: Sequence[str]) -> int:
    """Fetch each set, going on after a failure. Returns the exit code of the first failure, else 0."""
    sources = [DATASETS.find(name)() for name in names]  # a wrong name is found before anything is downloaded
    code = 0
    for source in sources:
        try:
            with readable(source.name):
                source.fetch(root)
        except LpssError as error:
            print(error, file=sys.stderr)
            code = code or error.exit_code
        else:
            print(f"{source.name}: {source.status(root).state}")
    return code


def _run(options: argparse.Namespace) -> int | None:
    root = expanded(options.root) if options.root else default_root()
    return fetch(root, options.names) if options.command == "fetch" else show(root)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lpss-data` and return its exit code."""
    return run_command("lpss-data", lambda: _run(parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
