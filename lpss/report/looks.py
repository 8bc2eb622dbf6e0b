"""How a method looks in figures and pages: its label, colour and marker."""

from typing import NamedTuple

import pandas as pd

from lpss.report.names import METHODS, rank
from lpss.report.tables import natural

# Okabe and Ito's colours, which colour-blind people can tell apart; in grey the markers differ.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D1F", "#555555")
DARK_COLOURS = ("#4DA3DC", "#F0B840", "#35C496", "#E39AC4", "#8CCBF2", "#F58A45", "#C9A655", "#B0B6BD")  # on dark paper
MARKERS = "osD^vPX"  # one fewer than colours: the pairs repeat only after 56


class Look(NamedTuple):
    """Places in `COLOURS` and `MARKERS`, and how often the colours have been used up before: lines differ by dashes."""

    colour: int
    marker: int
    dash: int


def label_of(method: str, settings: str = "") -> str:
    """A method's name in reports, with the settings that tell it apart (`tables.settle`)."""
    name = METHODS.get(method, method)
    return f"{name}, {settings}" if settings else name


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """A table that has `method` and `settings`, with the column `label`."""
    return table.assign(label=list(map(label_of, table["method"], table["settings"])))


def looks_of(table: pd.DataFrame) -> dict[str, Look | None]:
    """Label -> its look wherever the table is shown, in the order of tables; None for dense, the baseline."""
    kinds = table[["method", "settings", "label"]].drop_duplicates().to_dict("records")
    kinds.sort(key=lambda kind: (rank(kind["method"], METHODS), natural(kind["settings"])))
    looks, i = {}, 0
    for kind in kinds:
        dense = kind["method"] == "dense"
        looks[kind["label"]] = None if dense else Look(i % len(COLOURS), i % len(MARKERS), i // len(COLOURS))
        i += not dense
    return looks
