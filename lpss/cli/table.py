"""lpss-table: run folders -> a table of means and standard deviations, figures, and comparisons of methods."""

import argparse
import sys

from lpss.cli import CommandParser, run_command
from lpss.files import write_text
from lpss.report.collect import collect, layers_of, of_experiment, to_results_csv
from lpss.report.comparison_report import write_comparison
from lpss.report.render import DEFAULT_LAYOUT, LAYOUTS, render
from lpss.report.tables import aggregate, compare

DESCRIPTION = """Mean and standard deviation over seeds of the finished runs below the given paths: a line for
each data set, sparsity, method and differing setting. The table goes to stdout, remarks to stderr."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `run_command`)."""
    return run_command("lpss-table", lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> None:
    runs = collect(args.paths)
    if args.experiment:
        runs = of_experiment(runs, args.experiment)
    table = aggregate(runs)
    if args.published or args.source:
        table = compare(table, args.source or "paper")
    text = render(table, args.format, args.layout)
    if args.results:
        to_results_csv(runs, args.results)
    if args.figure:
        # matplotlib takes a second to load.
        from lpss.report.figures import accuracy_figure

        accuracy_figure(runs, args.figure, layers_of(runs))
    if args.paired:
        write_comparison(runs, args.paired)
    if args.ranks:
        from lpss.report.rank_figure import rank_figure

        rank_figure(runs, args.ranks)
    if args.flops:
        from lpss.report.flops_figure import flops_figure

        flops_figure(table, args.flops)
    _remarks(runs)
    if args.output:
        write_text(args.output, text)
    else:
        sys.stdout.write(text)


def _remarks(runs) -> None:
    states = runs["status"].where(runs["status"].isin(["finished", "diverged"]), "failed")
    counts = ", ".join(f"{(states == state).sum()} {state}" for state in ("finished", "diverged", "failed"))
    print(f"lpss-table: {len(runs)} runs: {counts}", file=sys.stderr)
    for state, folder in zip(states, runs["folder"], strict=True):
        if state != "finished":
            print(f"lpss-table: {state}, not averaged: {folder}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    top = CommandParser(prog="lpss-table", description=DESCRIPTION)
    top.add_runs()
    add = top.add_argument
    add("--format", choices=list(DEFAULT_LAYOUT), default="markdown", help="default: markdown")
    add("--layout", choices=LAYOUTS, help="long: a line a cell; wide: a column a method (default for latex)")
    add("--published", action="store_true", help="the paper's figures beside ours, and the difference")
    add("--source", metavar="NAME", help="compare with another published source than the paper")
    add("--output", metavar="FILE", help="write the table here instead of to stdout")
    add("--figure", metavar="FILE", help="draw accuracy and sparsity per layer into a .png, .pdf or .svg")
    add("--paired", metavar="FILE", help="LpSS against the best other method, with p values, and ranks: a .md or .csv")
    add("--ranks", metavar="FILE", help="draw average ranks and their critical difference into a .png, .pdf or .svg")
    add("--flops", metavar="FILE", help="draw accuracy against training FLOPs into a .png, .pdf or .svg")
    add("--results", metavar="FILE", help="write a csv with a row a run, from which the table can be rebuilt")
    return top


if __name__ == "__main__":
    sys.exit(main())
