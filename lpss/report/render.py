"""The table of `tables.aggregate` as markdown, csv or LaTeX; long: a line per cell, wide: a column per method.

A pure function of the table: the same table gives the same bytes.
"""

import math
import re

import pandas as pd

from lpss.errors import UsageError
from lpss.report.grid import LATEX, MARKDOWN, Footnotes, Grid, Style, latex_table, markdown_table
from lpss.report.names import DATASETS, KINDS, MANY, METHODS, kind_of, method_rank
from lpss.report.tables import BLOCK, MISSED, decimals, four, natural

DEFAULT_LAYOUT = {"markdown": "long", "csv": "long", "latex": "wide"}
LAYOUTS = ("long", "wide")
NUMBERS = ["accuracy_mean", "accuracy_std", "n", "sparsity_reached"]


def render(table: pd.DataFrame, format: str = "markdown", layout: str | None = None) -> str:
    """The table (with or without the columns of `compare`) as text that ends with a newline.

    `format`: markdown (padded: it reads well in a terminal), csv (all columns, all digits, names as in
    configs) or latex (a table environment, needs booktabs). `layout`: long or wide; the default is wide for
    latex, else long. Raises UsageError for another format or layout.
    """
    if format not in DEFAULT_LAYOUT:
        raise UsageError(f"unknown format {format!r}; known: {', '.join(DEFAULT_LAYOUT)}")
    layout = layout or DEFAULT_LAYOUT[format]
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    if format == "csv":
        return (table if layout == "long" else _wide_numbers(table)).to_csv(index=False, lineterminator="\n")
    style, write = (LATEX, latex_table) if format == "latex" else (MARKDOWN, markdown_table)
    return write(*table_grid(table, layout, style))


def table_grid(table: pd.DataFrame, layout: str, style: Style) -> Grid:
    """The table (as `render` takes it) in the texts of a style; of a long one, row by row."""
    notes = Footnotes()
    header, left, rows = (_long if layout == "long" else _wide)(table, style, notes)
    return Grid(header, left, rows, _legend(table, layout), [style.escape(text) for text in notes])


def label_columns(table: pd.DataFrame) -> dict[str, str]:
    """Title -> column of what says what a row is; those that never vary within a data set are left out."""
    columns = {"Experiment": "experiment", "Model": "model", "Evaluated on": "evaluated_on"}
    sets = table.groupby("dataset")
    return {"Data set": "dataset"} | {title: name for title, name in columns.items() if sets[name].nunique().max() > 1}


def labels_of(row: dict, columns: dict[str, str], style: Style) -> dict[str, str]:
    """Title -> text of what says what a row is, for the `label_columns`."""
    texts = {title: row[name] or "-" for title, name in columns.items()}
    texts["Data set"] = DATASETS.get(row["dataset"], row["dataset"])
    return {title: style.escape(text) for title, text in texts.items()}


def _accuracy(row: dict, style: Style) -> str:
    if not row["n"]:
        return "diverged" if row["diverged"] else "failed"
    spread = "" if math.isnan(row["accuracy_std"]) else f" {style.plus_minus} {four(row['accuracy_std'])}"
    text = four(row["accuracy_mean"]) + spread
    return style.bold(text) if row["best"] else text


def points(difference: float, style: Style) -> str:
    if math.isnan(difference):
        return "-"
    return f"{difference:+.2f}".replace("-", style.minus)


def _long(table: pd.DataFrame, style: Style, notes: Footnotes) -> tuple[list, int, list]:
    rows, columns = [], label_columns(table)
    for row in table.to_dict("records"):
        cells = labels_of(row, columns, style) | {
            "Sparsity": sparsity_text(row["sparsity"]),
            "Method": style.escape(METHODS.get(row["method"], row["method"])),
        }
        if table["method"].nunique() > MANY:
            cells["Masks"] = KINDS[kind_of(row["method"])]
        if table["settings"].any():
            cells["Settings"] = style.escape(row["settings"])
        left = len(cells)
        cells |= {
            "Accuracy": _accuracy(row, style) + notes.mark(row["notes"], style),
            "n": str(row["n"]),
            "Best epoch": four(row["accuracy_best_mean"]),
            "Reached": decimals(row["sparsity_reached"], 3),
            **({"Before finish": decimals(row["sparsity_own"], 3)} if table["sparsity_own"].notna().any() else {}),
            "Train FLOPs": decimals(row["train_flops"], 3),
            **({"Train time": decimals(row["train_time"], 2)} if table["train_time"].notna().any() else {}),
            "Test FLOPs": decimals(row["inference_flops"], 3),
        }
        if "published" in table:
            cells |= {"Published": four(row["published"]), "Diff.": points(row["difference"], style)}
        rows.append(cells)
    return list(rows[0]), left, [list(cells.values()) for cells in rows]


def _wide(table: pd.DataFrame, style: Style, notes: Footnotes) -> tuple[list, int, list]:
    methods, lines = _fold(table)
    rows, columns = [], label_columns(table)
    for first, cells in lines:
        labels = labels_of(first, columns, style) | {"Sparsity": sparsity_text(first["sparsity"])}
        if table["settings"].any():
            labels["Settings"] = style.escape(first["settings"])
        if "published" in table:
            labels[""] = "ours"
        rows.append(list(labels.values()) + [_wide_cell(cells.get(m), style, notes) for m in methods])
        if any(not math.isnan(cell.get("published", math.nan)) for cell in cells.values()):
            theirs = [_wide_published(cells.get(m), style) for m in methods]
            rows.append([*[""] * (len(labels) - 1), "published", *theirs])
    return [*labels, *(style.escape(METHODS.get(m, m)) for m in methods)], len(labels), rows


def _wide_cell(row: dict | None, style: Style, notes: Footnotes) -> str:
    if row is None:
        return ""
    asked, reached = (decimals(row[name], 3) for name in ("sparsity", "sparsity_reached"))
    count = f" (n={row['n']})" if asked == reached else f" (n={row['n']}, s={reached})"
    return _accuracy(row, style) + (count if row["n"] else "") + notes.mark(row["notes"], style)


def _wide_published(row: dict | None, style: Style) -> str:
    if row is None or math.isnan(row["published"]):
        return ""
    return f"{four(row['published'])} ({points(row['difference'], style)})"


def _fold(table: pd.DataFrame) -> tuple[list[str], list[tuple[dict, dict]]]:
    """Methods in order, and the wide lines: (the line's first row, method -> row).

    The dense baseline has no sparsity to be listed under: it stands on every line of its block, unless the
    block has several of it, or nothing else.
    """
    methods = set(table["method"])
    methods = sorted(methods, key=lambda name: method_rank(name, len(methods) > MANY))
    lines = []
    for _, block in table.groupby(BLOCK, sort=False):
        rows = block.to_dict("records")
        dense = [row for row in rows if row["method"] == "dense"]
        shared = dense[0] if len(dense) == 1 and len(rows) > 1 else None
        keyed = {}
        for row in rows:
            if row is not shared:
                keyed.setdefault((str(row["sparsity"]), row["settings"]), {})[row["method"]] = row
        for _, cells in sorted(keyed.items(), key=lambda item: (float(item[0][0]), natural(item[0][1]))):
            first = next(iter(cells.values()))
            lines.append((first, cells | ({"dense": shared} if shared else {})))
    return methods, lines


def _wide_numbers(table: pd.DataFrame) -> pd.DataFrame:
    methods, lines = _fold(table)
    numbers = NUMBERS + (["published", "difference"] if "published" in table else [])
    rows = []
    for first, cells in lines:
        row = {name: first[name] for name in [*BLOCK, "sparsity", "settings"]}
        row["best"] = " ".join(m for m in methods if m in cells and cells[m]["best"])
        row |= {f"{m}_{name}": cells[m][name] if m in cells else None for m in methods for name in numbers}
        rows.append(row)
    counts = {f"{m}_n": "Int64" for m in methods}
    return pd.DataFrame(rows).astype(counts)


def sparsity_text(value: float) -> str:
    return "-" if math.isnan(value) else re.sub(r"^0\.", ".", f"{value:g}")


def _legend(table: pd.DataFrame, layout: str) -> str:
    parts = {"test": "test set", "validation": "validation part"}
    places = " or ".join(parts.get(name, name) for name in sorted(set(table["evaluated_on"])))
    text = (
        f"Accuracy on the {places} after the last epoch, mean ± standard deviation over n runs; "
        "bold: best of the sparse methods at the same data set, model and sparsity, among those that "
        f"reached it (within {decimals(MISSED, 2)}). "
    )
    if layout == "long":
        text += "Reached: zeros among the maskable weights. "
        if table["sparsity_own"].notna().any():
            text += "Before finish: the same before LpSS's last topology update, which sets it exactly. "
        text += "FLOPs: relative to dense."
        if table["train_time"].notna().any():
            text += " Train time: measured, relative to dense."
    else:
        text += "s: sparsity reached (zeros among the maskable weights), where it is not the requested one."
    if "published" in table:
        sources = [name for name in dict.fromkeys(table["source"]) if name]
        text += f" Published: {', '.join(sources) or 'nothing for these cells'}"
        text += "; difference: ours - published, in percentage points." if sources else "."
    return text
