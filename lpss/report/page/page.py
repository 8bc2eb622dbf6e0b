"""The page itself: what its sections say, put into the template. A pure function of what was read."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import lpss
from lpss.report.grid import HTML
from lpss.report.looks import COLOURS, DARK_COLOURS
from lpss.report.page.cells import cells_of
from lpss.report.page.charts import chart_data
from lpss.report.page.comparison import comparisons
from lpss.report.page.overview import best, facts, wins
from lpss.report.page.provenance import failures, lost_counts, machines, warnings
from lpss.report.page.settings import settings
from lpss.report.render import table_grid

ASSETS = Path(__file__).with_name("assets")
# In the order in which they need each other.
SCRIPTS = ("dom", "state", "scale", "tooltip", "plot", "dots", "ranks", "panels", "gallery", "tables", "runs", "main")


def page(
    runs: pd.DataFrame,
    title: str,
    metrics: pd.DataFrame,
    layers: pd.DataFrame,
    unended: Sequence[Path] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The page as HTML: the same arguments give the same text.

    runs, metrics, layers: of `collect`, `metrics_of` and `layers_of`; unended: folders of runs that have not ended;
    remarks: what was said while all this was read.
    """
    cells = cells_of(runs)
    compared = comparisons(runs, cells.table)
    differing, fixed, unknown = settings(cells)
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            version=lpss.__version__,
            colours=list(zip(COLOURS, DARK_COLOURS, strict=True)),
            style=_asset("page.css"),
            script="".join(_asset(f"{name}.js") for name in SCRIPTS),
            facts=facts(cells),
            repeated=len(runs) - len(cells.runs),
            averaged=int(cells.runs["averaged"].sum()),
            lost=lost_counts(cells.runs, unended),
            wins=wins(cells),
            best=best(cells),
            wide=table_grid(cells.table, "wide", HTML),
            long=table_grid(cells.table, "long", HTML),
            comparisons=compared,
            differing=differing,
            fixed=fixed,
            unknown=unknown,
            failures=failures(cells),
            unended=unended,
            warnings=warnings(cells),
            remarks=remarks,
            machines=machines(cells.runs),
            data=chart_data(cells, metrics, layers) | {"ranks": [one.diagrams for one in compared]},
        )
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    return environment
