"""lpss-export: a finished run -> a file of its net, for other programs and for lpss.load."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from lpss.cli import CommandParser, run_command
from lpss.errors import UsageError
from lpss.export.formats import FORMATS
from lpss.record import WEIGHTS
from lpss.report.grid import markdown_table
from lpss.report.tables import decimals

DESCRIPTION = """Writes the net of a finished run to a file, with what standardises its examples: a loaded net takes
them as the data set has them. Sizes go to stdout, remarks to stderr. """
LEGEND = "Bytes of the file include biases and the like; per weight: divided by the maskable weights alone."


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `run_command`)."""
    return run_command("lpss-export", lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> None:
    chosen, run = FORMATS[args.format], Path(args.run).expanduser()
    folder = run if run.is_dir() else run.parent
    output = Path(args.output).expanduser() if args.output else folder / f"net{chosen.suffix}"
    _check(output, {run, folder / WEIGHTS, folder / "run.json"}, args.force)
    from lpss.export.load import read  # torch is imported only once the words have been checked

    contents = read(run).in_order()
    import_module(chosen.module).write(output, contents)
    sys.stdout.write(_table(args.format, contents, output))
    print(f"lpss-export: wrote {output}{chosen.remark and f'; {chosen.remark}'}", file=sys.stderr)


def _check(output: Path, own: set[Path], force: bool) -> None:
    """Raise UsageError for a file that must not be written; `own`: the run's files, which nothing replaces."""
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder: name a file in it")
    if any(file.is_file() and output.exists() and output.samefile(file) for file in own):
        raise UsageError(f"--output {output} is the run's own file: name another")
    if output.is_file() and not force:
        raise UsageError(f"--output {output} is there already: --force replaces it")


def _table(name: str, contents, output: Path) -> str:
    """Sizes as markdown: of each sparse layer where the format compresses them, and of the file."""
    from lpss.export.safetensors_file import encoded

    layers = encoded(contents) if name == "safetensors" else {}
    rows = [[layer, one.form, *_sizes([contents.masks[layer]], one.nbytes)] for layer, one in layers.items()]
    rows.append(["the file", name, *_sizes(contents.masks.values(), output.stat().st_size)])
    return markdown_table(["Layer", "Stored as", "Weights", "Sparsity", "Bytes", "Per weight"], 2, rows, LEGEND, [])


def _sizes(masks, nbytes: int) -> list[str]:
    weights, active = (sum(int(count(mask)) for mask in masks) for count in (lambda m: m.numel(), lambda m: m.sum()))
    return [f"{weights:,}", decimals(1 - active / weights, 3), f"{nbytes:,}", decimals(nbytes / weights, 3)]


def parser() -> argparse.ArgumentParser:
    formats = "; ".join(f"{name}: {one.description}" for name, one in FORMATS.items())
    parser = CommandParser("lpss-export", description=DESCRIPTION + f"Formats: {formats}.")
    add = parser.add_argument
    add("run", metavar="RUN", help="a finished run's folder, or a file that lpss.load takes")
    add("--format", choices=list(FORMATS), required=True)
    add("--output", metavar="FILE", help="default: net.safetensors, net.npz, net.onnx or net.pt in the run's folder")
    add("--force", action="store_true", help="replace a file that is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
