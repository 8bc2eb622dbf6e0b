"""lpss-report: run folders -> one HTML page with tables and charts that needs no network and nothing beside it."""

import argparse
import logging
import sys
from pathlib import Path

from lpss.cli import CommandParser, print_error, run_command
from lpss.errors import UsageError
from lpss.files import write_text
from lpss.report.collect import collect, layers_of, metrics_of, of_experiment, unended

PROGRAM = "lpss-report"
DESCRIPTION = """One page of all runs below the given paths, to look at, print or send: tables, accuracy against
sparsity, FLOPs and time, curves by epoch, layers, comparisons, settings, failures, versions."""
SUFFIXES = (".html", ".htm")
SHOWN = 3  # paths in the title


class Remarks(logging.Handler):
    """Keeps what is said while runs are read, to be shown on the page and on stderr."""

    def __init__(self):
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `run_command`)."""
    return run_command(PROGRAM, lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> None:
    output = Path(args.output).expanduser()
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot write {output}: use a name that ends in {' or '.join(SUFFIXES)}")
    remarks, log = Remarks(), logging.getLogger("lpss.report")
    log.addHandler(remarks)
    try:
        runs = collect(args.paths)
        if args.experiment:
            runs = of_experiment(runs, args.experiment)
        metrics, layers = metrics_of(runs), layers_of(runs)
    finally:
        log.removeHandler(remarks)
        for line in remarks.lines:
            print_error(PROGRAM, line)
    from lpss.report.page.page import page  # once the paths have been checked

    more = f" and {len(args.paths) - SHOWN} more" if len(args.paths) > SHOWN else ""
    title = args.title or f"Sparse training: {', '.join(args.paths[:SHOWN])}{more}"
    text = page(runs, title, metrics, layers, unended(args.paths, args.experiment), remarks.lines)
    write_text(output, text)
    print(f"{PROGRAM}: wrote {output}: {len(runs)} runs, {len(text.encode()) / 1e6:.1f} MB", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    top = CommandParser(prog=PROGRAM, description=DESCRIPTION)
    top.add_runs()
    add = top.add_argument
    add("-o", "--output", metavar="FILE", default="report.html", help="where to write the page (default: report.html)")
    add("--title", metavar="TEXT", help="the page's title (default: the paths)")
    return top


if __name__ == "__main__":
    sys.exit(main())
