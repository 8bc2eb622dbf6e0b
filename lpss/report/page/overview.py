"""What a reader looks for first: how many runs of what, and what is best."""

import math
from collections import Counter

import pandas as pd

from lpss.report.grid import HTML, Grid
from lpss.report.page.cells import Cells
from lpss.report.render import labels_of, points, sparsity_text
from lpss.report.tables import CONTEST, MISSED, decimals, four, on_target


def facts(cells: Cells) -> list[tuple[str, str]]:
    """What was run, and how much of it."""
    runs, table = cells.runs, cells.table
    sparse = table[table["method"] != "dense"]
    facts = [
        ("Runs", f"{len(runs):,}"),
        ("Data sets", str(runs["dataset"].nunique())),
        ("Methods", str(runs["method"].nunique())),
        ("Sparsities", _range(sparse["sparsity"].dropna(), sparsity_text) or "-"),
        ("Runs a cell", _range(table["n"], "{:d}".format, " to ")),
        ("Evaluated on", " and ".join(sorted(set(runs["evaluated_on"]) - {""})) or "-"),
        ("Computing time", duration(runs["wall_time_s"].sum())),
    ]
    dates = sorted({text[:10] for text in runs["finished"] if text})
    return [*facts, ("Finished", dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}")] if dates else facts


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 12 s, 3.4 min, 2.5 h, 4.1 days."""
    for limit, unit, word in ((100, 1, "s"), (6000, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.{0 if unit == 1 else 1}f} {word}"
    return f"{seconds / 86400:,.1f} days"


def wins(cells: Cells) -> list[tuple[str, int]]:
    """How often each method is the best of the sparse ones, of the most often first; see `best`."""
    return Counter(cells.table.loc[cells.table["best"], "label"]).most_common()


def best(cells: Cells) -> Grid | None:
    """The best sparse method of each data set, model and sparsity where two or more compete; None where none do."""
    table, rows = cells.table, []
    dense = table[(table["method"] == "dense") & (table["n"] > 0)]
    for _, cell in table.groupby(CONTEST, sort=False):
        for row in cell[cell["best"]].to_dict("records"):
            same = (cell["method"] != "dense") & on_target(cell["sparsity"], cell["sparsity_reached"])
            others = cell[same & ~cell["best"]].nlargest(1, "accuracy_mean").to_dict("records")
            baseline = dense[dense["block"] == row["block"]]["accuracy_mean"]
            rows.append(
                labels_of(row, table, HTML)
                | {
                    "Sparsity": sparsity_text(row["sparsity"]),
                    "Best": HTML.bold(HTML.escape(row["label"])),
                    "Next": HTML.escape(others[0]["label"]) if others else "-",
                    "Accuracy": four(row["accuracy_mean"]),
                    "n": str(row["n"]),
                    "Std": four(row["accuracy_std"]),
                    "Ahead": _ahead(row["accuracy_mean"], others[0]["accuracy_mean"] if others else math.nan),
                    "Dense": four(baseline.iloc[0]) if len(baseline) == 1 else "-",
                    "Against dense": _ahead(row["accuracy_mean"], baseline.iloc[0] if len(baseline) == 1 else math.nan),
                }
            )
    if not rows:
        return None
    legend = (
        "Best: the highest mean accuracy, to four decimals, of the sparse methods with the same data set, model and "
        f"sparsity that reached it (within {decimals(MISSED, 2)}). Ahead of the next, and against dense: in percentage "
        "points. Std: the standard deviation over the n runs, beside which a lead is large or small."
    )
    return Grid(list(rows[0]), list(rows[0]).index("Accuracy"), [list(row.values()) for row in rows], legend, [])


def _ahead(mine: float, other: float) -> str:
    return points(100 * (mine - other), HTML)


def _range(values: pd.Series, written, between: str = " … ") -> str:
    """Few values one by one, many as a range."""
    known = sorted(set(values))
    if len(known) > 4 or between != " … " and len(known) > 1:
        return f"{written(known[0])}{between}{written(known[-1])}"
    return ", ".join(map(written, known))
