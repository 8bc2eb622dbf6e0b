"""The README of outputs/figures: what each figure shows, from which runs, and which claims of the paper hold."""

from collections.abc import Mapping

import pandas as pd

from lpss.paper import FIGURES
from lpss.paper.claims import claims_table
from lpss.paper.common import source_line


def readme(tables: Mapping[str, pd.DataFrame]) -> str:
    """Markdown, from the tables behind the figures (figure -> its table)."""
    rows = "\n".join(f"| {name} | {FIGURES[name].title} | {source_line(table)} |" for name, table in tables.items())
    return f"""# The paper's figures, from our own runs

`make figures` (= `lpss-figures all`) trains the runs that are missing and writes this folder: for each figure a png, a
pdf and the csv it is drawn from (`lpss-figures all --redraw` draws from the csv files alone). Without a GPU the short
schedules are used; a line below each figure names its runs. `convergence.csv` is from `python scripts/convergence.py`.

| figure | what it shows | runs |
|---|---|---|
{rows}

## The paper's claims, and whether these runs support them

Most figures rest on one seed and a short schedule (table above): they show a direction, not how large an effect is.

{claims_table(tables)}"""
