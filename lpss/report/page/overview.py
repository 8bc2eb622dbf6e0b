"""What a reader looks for first: how many runs of what, and what is best."""

import math
from collections import Counter

import pandas as pd

from lpss.report.grid import HTML, Grid
from lpss.report.page.cells import Cells
from lpss.report.render import label_columns, labels_of, points, sparsity_text
from lpss.report.tables import CONTEST, MISSED, decimals, four, on_target

FEW = 4  # things, up to which they are listed


def facts(cells: Cells) -> list[tuple[str, str]]:
    """What was run, and how much of it."""
    runs, table = cells.runs, cells.table
    sparse = table[table["method"] != "dense"]
    found = [
        ("Runs", f"{len(runs):,}"),
        ("Data sets", str(runs["dataset"].nunique())),
        ("Methods", str(runs["method"].nunique())),
        ("Sparsities", _listed(list(map(sparsity_text, sorted(set(sparse["sparsity"].dropna())))))),
        ("Runs per cell", _span(sorted(set(table["n"])))),
        ("Evaluated on", _listed(sorted(set(runs["evaluated_on"]) - {""}))),
        ("Computing time", duration(runs["wall_time_s"].sum())),
    ]
    dates = sorted({text[:10] for text in runs["finished"] if text})
    return [*found, ("Finished", _span(dates))] if dates else found


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 12 s, 3.4 min, 2.5 h, 4.1 days."""
    for limit, unit, word in ((100, 1, "s"), (6000, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.{0 if unit == 1 else 1}f} {word}"
    return f"{seconds / 86400:,.1f} days"


def wins(cells: Cells) -> list[tuple[str, int, int]]:
    """Method, how often it is the best of the sparse ones (see `best`), how often not alone; most often first."""
    count, shared = Counter(), Counter()
    for _, winners in cells.table[cells.table["best"]].groupby(CONTEST):
        names = set(winners["label"])
        count.update(names)
        shared.update(names if len(names) > 1 else ())
    names = sorted(count, key=list(cells.kinds).index)  # in the order of tables where they are as often the best
    return [(name, count[name], shared[name]) for name in sorted(names, key=count.get, reverse=True)]


def best(cells: Cells) -> Grid | None:
    """The best sparse methods of each data set, model and sparsity where two or more compete; None where none do."""
    table = cells.table
    sparse = table[(table["method"] != "dense") & on_target(table["sparsity"], table["sparsity_reached"])]
    dense = table[(table["method"] == "dense") & (table["n"] > 0)]
    columns = label_columns(table)
    rows = [
        _best_row(contest, dense, columns)
        for _, contest in sparse.groupby(CONTEST, sort=False)
        if contest["best"].any()
    ]
    if not rows:
        return None
    legend = (
        "Best: the highest mean accuracy, to four decimals, of the sparse methods with the same data set, model and "
        f"sparsity that reached it (within {decimals(MISSED, 2)}). Ahead of the next, and against dense: in percentage "
        "points. Std: the standard deviation over the n runs, beside which a lead is large or small."
    )
    return Grid(list(rows[0]), list(rows[0]).index("Accuracy"), [list(row.values()) for row in rows], legend, [])


def _best_row(contest: pd.DataFrame, dense: pd.DataFrame, columns: dict[str, str]) -> dict[str, str]:
    """A line of `best`: a contest's cells -> title -> text."""
    winners = contest[contest["best"]]
    first = winners.iloc[0]
    others = contest[~contest["best"]].nlargest(1, "accuracy_mean")
    behind = others["accuracy_mean"].iloc[0] if len(others) else math.nan
    baseline = dense.loc[dense["block"] == first["block"], "accuracy_mean"]
    baseline = baseline.iloc[0] if len(baseline) == 1 else math.nan
    names = [HTML.bold(HTML.escape(name)) for name in dict.fromkeys(winners["label"])]
    return labels_of(first, columns, HTML) | {
        "Sparsity": sparsity_text(first["sparsity"]),
        "Best": ", ".join(names) if len(names) <= FEW else f"{len(names)} alike",
        "Next": HTML.escape(others["label"].iloc[0]) if len(others) else "-",
        "Accuracy": four(first["accuracy_mean"]),
        "n": str(first["n"]),
        "Std": four(first["accuracy_std"]),
        "Ahead": points(100 * (first["accuracy_mean"] - behind), HTML),
        "Dense": four(baseline),
        "Against dense": points(100 * (first["accuracy_mean"] - baseline), HTML),
    }


def _listed(texts: list[str]) -> str:
    """Few one by one, many from the first to the last."""
    return ", ".join(texts) or "-" if len(texts) <= FEW else _span(texts)


def _span(values: list) -> str:
    return f"{values[0]} to {values[-1]}" if len(values) > 1 else str(values[0])
