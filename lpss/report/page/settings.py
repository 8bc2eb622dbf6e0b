"""Which settings differ between the runs, and which are the same in all of them."""

import json

import pandas as pd

from lpss.report.grid import HTML, Grid
from lpss.report.page.cells import Cells
from lpss.report.tables import CELL, flat_settings

# What names a cell; every table shows it.
KNOWN = {"experiment_name", "dataset.name", "model.name", "method.name", "sparsity"}
MANY = 8  # values, more than which are counted instead of listed
WITHIN, BETWEEN, ELSEWHERE = "within a method", "between methods", "between data sets or sparsities"
DIFFERING = (
    f"{WITHIN.capitalize()}: runs of the same method, data set and sparsity differ in it (their cells are kept apart). "
    f"{BETWEEN.capitalize()}: the methods that are compared on a data set at a sparsity differ in it. A setting that "
    "only some runs have (an option of their method) is compared among these."
)


def settings(cells: Cells) -> tuple[Grid | None, Grid | None, int]:
    """The settings that differ, those that do not (None: there are none), and how many runs have none on record."""
    configs = [json.loads(text) if text else None for text in cells.runs["config"]]
    # What the runs of one method must share to be averaged, but for their settings; what methods must share to compete.
    alike = cells.table.groupby(CELL, dropna=False).ngroup()[cells.runs["cell"]]
    places = cells.table.groupby(["block", "sparsity"], dropna=False).ngroup()[cells.runs["cell"]]
    rows = [
        (key, value, *where)
        for config, *where in zip(configs, cells.runs["label"], alike, places, strict=True)
        if config is not None
        for key, value in flat_settings(config).items()
        if key not in KNOWN
    ]
    table = pd.DataFrame(rows, columns=["key", "value", "label", "alike", "place"])
    table["label"] = pd.Categorical(table["label"], list(cells.kinds))  # in the order of tables
    values = table.groupby("key")["value"].nunique()
    differing = [_differing(key, part) for key, part in table.groupby("key") if values[key] > 1]
    fixed = [_fixed(key, part, cells) for key, part in table.groupby("key") if values[key] == 1]
    return (
        Grid(["Setting", "Differs", "Values"], 3, differing, DIFFERING, []) if differing else None,
        Grid(["Setting", "Value", "Methods"], 3, fixed, "", []) if fixed else None,
        configs.count(None),
    )


def _differing(key: str, rows: pd.DataFrame) -> list[str]:
    varies = [name for name in ("alike", "place") if (rows.groupby(name)["value"].nunique() > 1).any()]
    where = {"alike": WITHIN, "place": BETWEEN}[varies[0]] if varies else ELSEWHERE
    values = rows.groupby("value", sort=False)["label"].agg(_names)
    if len(values) > MANY:
        return [HTML.escape(key), where, f"{len(values)} values"]
    everyone = _names(rows["label"])
    lines = [
        f"<code>{HTML.escape(value)}</code>" + ("" if who == everyone else f" {HTML.escape(who)}")
        for value, who in values.items()
    ]
    return [HTML.escape(key), where, "<br>".join(lines)]


def _fixed(key: str, rows: pd.DataFrame, cells: Cells) -> list[str]:
    of = "all" if rows["label"].nunique() == len(cells.kinds) else _names(rows["label"])
    return [HTML.escape(key), f"<code>{HTML.escape(rows['value'].iloc[0])}</code>", HTML.escape(of)]


def _names(labels: pd.Series) -> str:
    known = sorted(labels.unique(), key=labels.cat.categories.get_loc)
    return ", ".join(known) if len(known) <= MANY else f"{len(known)} methods"
