"""One run in full: its fields, settings and layers, its last epochs, and of one that did not finish its log."""

import csv
from collections.abc import Iterable
from pathlib import Path

from lpss.errors import reason
from lpss.options import flat
from lpss.record import FIELDS, FINISHED, read_layers
from lpss.runs.run import Run
from lpss.runs.text import aligned, indented, one_line, short, shown

ROLES = {"what": "what was run", "result": "result", "where": "where it ran", "time": "time"}
APART = ("config", "warnings", "error", "files")  # fields with a section of their own, or none
EPOCHS, LOG_LINES = 5, 20
EPOCH_COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "eval_loss", "eval_accuracy", "sparsity_weights")
LAYER_COLUMNS = ("layer", "role", "shape", "p", "weights", "density_requested", "density_reached", "empty_neurons")


def show(run: Run) -> str:
    """All that is known of the run, in sections; what its folder does not hold (any more) is left out."""
    folder, record = Path(run.folder), run.record
    sections = [(title, _pairs(_fields(record, role))) for role, title in ROLES.items()]
    sections.append(("settings", _pairs(flat(run.config))))
    sections.append(("layers", _section(_layers, folder)))
    sections.append((f"last epochs (of {folder / 'metrics.csv'})", _section(_epochs, folder)))
    sections.append(("warnings", _lines(record["warnings"] or ())))
    if run.status != FINISHED:
        sections.append(("error", _lines([record["error"]] if record["error"] else ())))
        sections.append((f"end of {folder / 'run.log'}", _section(_log, folder)))
    text = "".join(f"\n{one_line(title)}\n{indented(body)}" for title, body in sections if body)
    return f"{one_line(run.folder)}: {run.status}\n{text}"


def _fields(record: dict, role: str) -> Iterable[tuple[str, object]]:
    for name, field in FIELDS.items():
        if field.role == role and name not in APART and record[name] is not None:
            yield from flat({name: record[name]})


def _pairs(values: Iterable[tuple[str, object]]) -> str:
    rows = [(name, one_line(shown(value))) for name, value in values]
    return aligned(("", ""), rows, left=("",)).removeprefix("\n")


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"{one_line(line)}\n" for text in texts for line in text.splitlines())


def _section(read, folder: Path) -> str:
    """What `read` makes of the folder; a line that says why where it cannot."""
    try:
        return read(folder)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, csv.Error) as error:
        return f"cannot be read: {reason(error)}\n"


def _layers(folder: Path) -> str:
    layers = read_layers(folder)
    if layers is None:
        return ""
    rows = [[_cell(row[name]) for name in LAYER_COLUMNS] for row in layers.to_dict("records")]
    return aligned(LAYER_COLUMNS, rows, left=("layer", "role", "shape"))


def _cell(value) -> str:
    """A cell of layers.csv, whose counts are floats."""
    if value != value:
        return "-"
    return f"{value:.0f}" if isinstance(value, float) and value >= 1 and value.is_integer() else short(value)


def _epochs(folder: Path) -> str:
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))[-EPOCHS:]
    cells = [[short(float(row[name])) for name in EPOCH_COLUMNS] for row in rows]
    return aligned(EPOCH_COLUMNS, cells, left=())


def _log(folder: Path) -> str:
    return _lines((folder / "run.log").read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])
