"""A list of runs as text, csv, JSON or markdown."""

import csv
import io
import json
from collections.abc import Sequence

from lpss.record import FIELDS
from lpss.runs.run import Run
from lpss.runs.text import aligned, short, shown

FORMATS = ("text", "md", "csv", "json")
BRIEF = ("status", "dataset", "method", "sparsity", "seed")
BRIEF += ("accuracy_last", "sparsity_weights", "wall_time_s", "folder")
WHOLE = ("folder", *FIELDS)


def listing(runs: Sequence[Run], columns: Sequence[str] | None, format: str) -> str:
    """A line (of JSON: an object) a run; all digits in csv and JSON. Columns: `BRIEF`, in csv and JSON `WHOLE`."""
    columns = columns or (BRIEF if format in ("text", "md") else WHOLE)
    rows = [[run.get(name) for name in columns] for run in runs]
    if format == "json":
        return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1) + "\n"
    if format == "csv":
        lines = io.StringIO()
        cells = [["" if value is None else shown(value) for value in row] for row in rows]
        csv.writer(lines, lineterminator="\n").writerows([columns, *cells])
        return lines.getvalue()
    cells = [[short(value) for value in row] for row in rows]
    if format == "text":
        lines = zip(columns, *rows, strict=True)
        texts = {name for name, *values in lines if any(isinstance(value, str) for value in values)}
        return aligned(columns, cells, left=texts)
    from lpss.report.grid import markdown_table  # reads the sources of all methods when it is loaded

    cells = [[cell.replace("|", r"\|") for cell in row] for row in cells]
    return markdown_table(list(columns), len(columns), cells, "", []).rstrip("\n") + "\n"
