"""`lpss-predict`: the classes of new rows or images, by a trained net."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torchvision.datasets.folder import IMG_EXTENSIONS

from lpss.cli import CommandParser, run_command
from lpss.data.arrays import load_arrays
from lpss.data.csv_table import read_csv
from lpss.data.parquet_table import read_parquet
from lpss.errors import DataError, UsageError
from lpss.export.load import load
from lpss.export.net import ReadyNet
from lpss.export.predict import Rows, predict
from lpss.files import write_atomically

PROGRAM = "lpss-predict"
TABLES = (".csv", ".parquet")  # that are written


def parser() -> argparse.ArgumentParser:
    top = CommandParser(prog=PROGRAM, description=__doc__.partition(": ")[2])
    top.add_argument("run", metavar="RUN", help="a run's folder, or a file of lpss-export (safetensors, npz, torch)")
    top.add_argument("new", metavar="NEW", type=Path, nargs="+", help="a csv, parquet, npy or npz file; or images")
    top.add_argument("--output", "-o", type=Path, metavar="FILE", help=".csv or .parquet (default: print csv)")
    top.add_argument("--keep", metavar="COLUMN,...", default="", help="columns of NEW to put first, or all")
    top.add_argument("--array", metavar="NAME", default="x", help="which array of an npz file (default: x)")
    top.add_argument("--separator", help="of a csv file, between cells (default: as in training)")
    top.add_argument("--encoding", help="of a csv file (default: as in training)")
    top.add_argument("--no-header", action="store_true", help="the first line of a csv file is a row already")
    return top


def _run(options: argparse.Namespace) -> None:
    if options.output is not None and options.output.suffix.lower() not in TABLES:
        raise UsageError(f"--output {options.output}: its name must end with {' or '.join(TABLES)}")
    if absent := [path for path in options.new if not path.exists()]:
        raise UsageError(f"{absent[0]}: there is no such file or folder")
    net = load(options.run)
    source = str(options.new[0])
    rows = _read(options, net)
    predictions = predict(net, rows, source)
    if isinstance(rows, pd.DataFrame):
        _remark(net, rows, predictions, source)
    _write(pd.concat([_kept(rows, options.keep, source), predictions], axis=1), options.output)


def _read(options: argparse.Namespace, net: ReadyNet) -> Rows:
    """The new rows, by what their file is."""
    first = options.new[0]
    if first.is_dir() or first.suffix.lower() in IMG_EXTENSIONS:
        return [image for path in options.new for image in _images(path)]
    if len(options.new) > 1:
        raise UsageError(f"{options.new[1]}: one file of rows at a time, or images")
    if first.suffix.lower() in (".npy", ".npz"):
        content = load_arrays(first)
        if isinstance(content, np.ndarray):
            return content
        if options.array not in content:
            raise UsageError(f"{first}: there is no array {options.array!r}, but {', '.join(content)}: say --array")
        return content[options.array]
    if first.suffix.lower() == ".parquet":
        return read_parquet(first)
    text = dict(net.recipe.text) if net.recipe is not None else {}
    text |= {key: value for key in ("separator", "encoding") if (value := getattr(options, key)) is not None}
    return read_csv(first, **(text | {"header": False} if options.no_header else text))


def _images(path: Path) -> list[Path]:
    """A file itself, or the images in a folder and its folders, in order."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMG_EXTENSIONS)
    if not found:
        raise DataError(f"{path} holds no images ({', '.join(IMG_EXTENSIONS)})")
    return found


def _remark(net: ReadyNet, rows: pd.DataFrame, predictions: pd.DataFrame, source: str) -> None:
    """What there is to say of the rows: unknown levels, and the accuracy where they have labels."""
    if net.recipe is None:
        return
    for name, count in net.recipe.unknown(rows).items():
        levels = f"{count} of {len(rows)} cells hold a level that no training row had"
        print(f"{source}: column {name}: {levels}", file=sys.stderr)
    if net.recipe.target in rows.columns:
        labels = net.recipe.labels(rows)
        known = labels.notna()
        if known.any():
            right = (labels[known] == predictions.prediction[known]).mean()
            print(f"{source}: accuracy {right:.4f} on {known.sum():,} rows with a label", file=sys.stderr)


def _kept(rows: Rows, keep: str, source: str) -> pd.DataFrame:
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
        print(table.to_csv(index=False), end="")
    elif output.suffix.lower() == ".parquet":
        write_atomically(output, lambda temporary: table.to_parquet(temporary, index=False))
    else:
        write_atomically(output, lambda temporary: table.to_csv(temporary, index=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lpss-predict` and return its exit code."""
    return run_command(PROGRAM, lambda: _run(parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
