"""lpss-figures: train the runs that the paper's figures lack, draw the figures, check the paper's claims."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lpss.cli import CommandParser, run_command
from lpss.errors import LpssError, UsageError, suggestion
from lpss.files import write_text
from lpss.paper import FIGURES
from lpss.paper.claims import claims_table
from lpss.paper.common import source_line
from lpss.paper.readme import readme
from lpss.record import ENDED, RunFolder
from lpss.report.collect import collect
from lpss.report.tables import finished

DESCRIPTION = """The paper's figures: trains the runs that are missing (lpss-train -m experiment=fig...), writes each
figure's csv and, from it, a png and a pdf; then prints which of the paper's claims the figures support."""
FORMATS = (".png", ".pdf")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 1 if a run failed, else the exit code of `run_command`."""
    return run_command("lpss-figures", lambda: _run(parser().parse_intermixed_args(argv)))


def _run(args: argparse.Namespace) -> int:
    names, overrides = _chosen(args.words)
    short = args.schedule == "short" or args.schedule == "auto" and not _has_gpu()
    complete = True
    if args.redraw and overrides:
        raise UsageError(f"--redraw trains nothing: leave {' '.join(overrides)} out")
    for name in names:
        figure, file = FIGURES[name], args.output / f"{name}.csv"
        if not args.redraw:
            runs = _runs(figure.experiments(short), overrides, args)
            if runs is None:
                print(f"{name}: not drawn: runs are missing; the same command continues them", file=sys.stderr)
                complete = False
                continue
            write_text(file, figure.table(runs).to_csv(index=False))
        # Always drawn from the file, so that the picture does not depend on whether the runs are still there.
        table = _read(file)
        figure.plot(table, *map(file.with_suffix, FORMATS))
        print(f"{name}: {file.with_suffix('.png')}, .pdf, .csv ({source_line(table)})")
    tables = {name: _read(file) for name in FIGURES if (file := args.output / f"{name}.csv").exists()}
    if tables:
        write_text(args.output / "README.md", readme(tables))
        print(claims_table(tables))
    return 0 if complete else 1


def _chosen(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The figures' names, in order, and KEY=VALUE overrides. Raises UsageError for another word."""
    overrides = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word]
    for name in names:
        if name not in FIGURES and name != "all":
            known = ", ".join(["all", *FIGURES])
            raise UsageError(f"unknown figure {name!r}{suggestion(name, [*FIGURES, 'all'])}; known: {known}")
    if not names:
        raise UsageError(f"which figure? all, or some of {', '.join(FIGURES)}")
    return [name for name in FIGURES if name in names or "all" in names], overrides


def _runs(experiments: Sequence[str], overrides: list[str], args: argparse.Namespace) -> pd.DataFrame | None:
    """The finished runs of these experiments, trained where they are missing; None if one failed."""
    from lpss.cli.compose import compose_run, compose_sweep
    from lpss.cli.progress import train
    from lpss.train.environment import usable_cores
    from lpss.train.resolve import resolve

    planned = {}  # folder -> overrides: a run that two sweeps name is trained once
    for experiment in experiments:
        for run in compose_sweep(experiment):
            run = (*run, f"output={args.output / 'runs'}", *overrides)
            planned.setdefault(resolve(compose_run(run)).folder, run)
    wanted = [run for folder, run in planned.items() if not _ended(folder)]
    for _ in train(wanted, args.workers or usable_cores()) if wanted else ():
        pass
    if not all(map(_ended, planned)):
        return None
    runs = collect(planned)
    for folder in runs["folder"][runs["status"] == "diverged"]:
        print(f"left out, as it diverged: {folder}", file=sys.stderr)
    return finished(runs)


def _ended(folder: Path) -> bool:
    return (RunFolder(folder).result() or {}).get("status") in ENDED


def _read(file: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(file)
    except FileNotFoundError:
        raise UsageError(f"{file} is not there: --redraw needs the csv files of an earlier lpss-figures") from None
    except (OSError, ValueError) as error:
        raise LpssError(f"{file} cannot be read: {error}") from None


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def parser() -> argparse.ArgumentParser:
    parser = CommandParser("lpss-figures", description=DESCRIPTION)
    add = parser.add_argument
    add("words", nargs="*", metavar="FIGURE | KEY=VALUE", help=f"all or {', '.join(FIGURES)}; settings of all runs")
    add("--schedule", choices=["auto", "short", "full"], default="auto", help="auto: full where there is a GPU")
    add("--redraw", action="store_true", help="draw again from the csv files alone")
    add("--workers", type=int, help="runs at once, one thread each (default: the cores)")
    add("--output", type=Path, default=Path("outputs/figures"), help="(default: outputs/figures)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
