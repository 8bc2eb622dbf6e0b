"""lpss-predict: a trained net and new rows or images -> their classes, with probabilities."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lpss.cli import CommandParser, run_command
from lpss.errors import UsageError
from lpss.files import write_atomically

PROGRAM = "lpss-predict"
DESCRIPTION = """Classes and probabilities of new rows, by the net and the preprocessing of a run, whose data set is not
needed. The table goes to stdout, or to a file; remarks to stderr."""
TABLES = (".csv", ".parquet")  # that are written


def parser() -> argparse.ArgumentParser:
    top = CommandParser(prog=PROGRAM, description=DESCRIPTION)
    top.add_argument("run", metavar="RUN", help="a run's folder, or a file of lpss-export (safetensors, npz, torch)")
    top.add_argument("new", metavar="NEW", type=Path, nargs="+", help="a csv, parquet, npy or npz file; or images")
    top.add_argument("--output", "-o", type=Path, metavar="FILE", help=".csv or .parquet (default: print csv)")
    top.add_argument("--keep", metavar="COLUMN,...", default="", help="columns of NEW to put first, or all")
    top.add_argument("--array", metavar="NAME", default="x", help="which array of an npz file (default: x)")
    top.add_argument("--separator", help="of a csv file, between cells (default: as in training)")
    top.add_argument("--encoding", help="of a csv file (default: as in training)")
    top.add_argument("--no-header", action="store_true", help="the first line of a csv file is a row already")
    return top


def _run(args: argparse.Namespace) -> None:
    if args.output is not None and args.output.suffix.lower() not in TABLES:
        raise UsageError(f"--output {args.output}: its name must end with {' or '.join(TABLES)}")
    from lpss.export.load import load  # torch is imported only once the words have been checked
    from lpss.export.new_rows import read_rows
    from lpss.export.predict import predict

    net, source = load(args.run), str(args.new[0])
    text = {key: value for key in ("separator", "encoding") if (value := getattr(args, key)) is not None}
    rows = read_rows(args.new, net, args.array, **text, **({"header": False} if args.no_header else {}))
    predictions = predict(net, rows, source)
    if isinstance(rows, pd.DataFrame) and net.recipe is not None:
        _remark(net.recipe, rows, predictions, source)
    _write(pd.concat([_kept(rows, args.keep, source), predictions], axis=1), args.output)


def _remark(recipe, rows: pd.DataFrame, predictions: pd.DataFrame, source: str) -> None:
    """Say where levels are unknown, and the accuracy where rows have labels."""
    for name, count in recipe.unknown(rows).items():
        levels = f"{count} of {len(rows)} cells hold a level that no training row had"
        print(f"{source}: column {name}: {levels}", file=sys.stderr)
    if recipe.target in rows.columns and (known := (labels := recipe.labels(rows)).notna()).any():
        right = (labels[known] == predictions.prediction[known]).mean()
        print(f"{source}: accuracy {right:.4f} on {known.sum():,} rows with a label", file=sys.stderr)


def _kept(rows, keep: str, source: str) -> pd.DataFrame:
    """What stands before the predictions: columns of the rows, or the files of images."""
    if isinstance(rows, list):
        return pd.DataFrame({"file": list(map(str, rows))})
    if not keep:
        return pd.DataFrame(index=rows.index if isinstance(rows, pd.DataFrame) else None)
    if not isinstance(rows, pd.DataFrame):
        raise UsageError(f"--keep {keep}: arrays have no columns")
    names = list(rows.columns) if keep == "all" else keep.split(",")
    if absent := [name for name in names if name not in rows.columns]:
        raise UsageError(f"--keep {keep}: {source} has no column {absent[0]!r}")
    return rows[names]


def _write(table: pd.DataFrame, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(table.to_csv(index=False))
    elif output.suffix.lower() == ".parquet":
        write_atomically(output, lambda temporary: table.to_parquet(temporary, index=False))
    else:
        write_atomically(output, lambda temporary: table.to_csv(temporary, index=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `run_command`)."""
    return run_command(PROGRAM, lambda: _run(parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
