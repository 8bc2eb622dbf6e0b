"""The cells that a page shows, numbered, and their runs: what all of its sections speak of."""

import math
from dataclasses import dataclass

import pandas as pd

from lpss.report.grid import PLAIN
from lpss.report.looks import Look, labelled, looks_of
from lpss.report.render import label_columns, labels_of
from lpss.report.tables import BLOCK, CELL, aggregate, finished, settle

MANY = 30  # kinds of runs, more than which cannot be told apart by colours and markers


@dataclass(frozen=True)
class Cells:
    """A page's cells.

    table: what `tables.aggregate` returns, with the columns label and block (a number); runs: what `tables.settle`
    returns, with label, cell (the row's number in `table`) and averaged (bool); kinds: label -> the name that it has in
    legends, in the order of tables; looks: of these names, see `looks_of`; blocks: what tells each block apart,
    title -> text.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    kinds: dict[str, str]
    looks: dict[str, Look | None]
    blocks: list[dict[str, str]]


def cells_of(runs: pd.DataFrame) -> Cells:
    """The cells of the runs of `collect`."""
    table, settled = labelled(aggregate(runs)), labelled(settle(runs))
    rows = table.drop_duplicates(BLOCK)
    places = {key: i for i, key in enumerate(_keys(rows, BLOCK))}
    table["block"] = [places[key] for key in _keys(table, BLOCK)]
    places = {key: i for i, key in enumerate(_keys(table, [*CELL, "settings"]))}
    settled["cell"] = [places[key] for key in _keys(settled, [*CELL, "settings"])]
    settled["averaged"] = settled.index.isin(finished(settled).index)
    kinds, looks = _kinds(table)
    columns = label_columns(table)
    blocks = [labels_of(row, columns, PLAIN) for row in rows.to_dict("records")]
    return Cells(table, settled, kinds, looks, blocks)


def _kinds(table: pd.DataFrame) -> tuple[dict[str, str], dict[str, Look | None]]:
    """Where a method was tried in many settings, all of them look like the method."""
    looks = looks_of(table)
    if len(looks) <= MANY:
        return {label: label for label in looks}, looks
    methods = labelled(table.assign(settings=""))
    names = dict(zip(table["label"], methods["label"], strict=True))
    return {label: names[label] for label in looks}, looks_of(methods)


def number(value: float) -> float | None:
    """Six digits of a number, as JSON can hold it; None for NaN and infinity."""
    return float(f"{value:.6g}") if not pd.isna(value) and math.isfinite(value) else None


def numbers(values) -> list[float | None]:
    """`number` of each."""
    return [number(value) for value in values]


def _keys(frame: pd.DataFrame, names: list[str]) -> list[tuple]:
    """A row's values of these columns; two rows without a number have the same key."""
    return [tuple(map(str, key)) for key in frame[names].itertuples(index=False, name=None)]
