"""Which method is better, by experiment: average ranks, tests of every two methods, LpSS against the best other."""

from typing import NamedTuple

import pandas as pd

from lpss.errors import UsageError
from lpss.report.comparison import Ranking, Ranks, paired, rankings
from lpss.report.comparison_report import p_value, paired_grid, ranking_title, ranks_grid
from lpss.report.grid import HTML, Grid
from lpss.report.looks import label_of
from lpss.report.pairwise import holm, pairwise
from lpss.report.render import points

APART = ["experiment", "evaluated_on"]  # what is not compared with each other
PAIRS = (
    "Every two methods over all blocks (a data set at a sparsity). Ahead, alike, behind: in how many of them the first "
    "has the higher mean accuracy, to four decimals; one that missed the sparsity is behind. Difference: first - "
    "second, mean over the blocks in which both count, in percentage points. p: two-sided Wilcoxon signed-rank test; "
    "p (Holm): corrected for the number of pairs. A data set that has several blocks makes them dependent: p over them "
    "is too small."
)


class Comparison(NamedTuple):
    """One experiment's: tables, or, in words, why there are none; diagrams: what draws its critical differences."""

    title: str
    ranks: Grid | str
    pairs: Grid | str
    paired: Grid | str
    reference: str
    diagrams: list[dict]


def comparisons(runs: pd.DataFrame, table: pd.DataFrame) -> list[Comparison]:
    """A comparison for each experiment and part of the data that it was evaluated on, from the runs of `collect` and
    their `aggregate`."""
    parts = list(runs.groupby(APART))
    cells = dict(list(table.groupby(APART)))
    return [
        _comparison(", ".join(filter(None, key)) if len(parts) > 1 else "", part, cells[key]) for key, part in parts
    ]


def _comparison(title: str, runs: pd.DataFrame, table: pd.DataFrame) -> Comparison:
    found, pairs = _or_why(rankings, table), _or_why(pairwise, table)
    ranked = isinstance(found, Ranks)
    # Without LpSS: the method of the best average rank.
    reference = next(iter(found.rankings[-1].ranks)) if ranked and "lpss" not in set(runs["method"]) else "lpss"
    against = _or_why(paired, runs, reference, table)
    return Comparison(
        title,
        ranks_grid(found, HTML) if ranked else found,
        pairs if isinstance(pairs, str) else _pairs_grid(pairs),
        against if isinstance(against, str) else paired_grid(against.assign(p_holm=holm(against["p"])), HTML),
        label_of(reference),
        [_diagram(one) for one in found.rankings if one.blocks > 1] if ranked else [],
    )


def _or_why(compare, *words):
    """What a comparison returns, or, as a sentence, why there is none."""
    try:
        return compare(*words)
    except UsageError as error:
        return f"{str(error)[0].upper()}{str(error)[1:]}."


def _diagram(ranking: Ranking) -> dict:
    """What draws it: title, [method, rank], critical difference, [first, last] of each group."""
    names = list(ranking.ranks)
    return {
        "title": ranking_title(ranking),
        "ranks": [[label_of(name), round(rank, 4)] for name, rank in ranking.ranks.items()],
        "difference": round(ranking.critical_difference, 4),
        "groups": [[names.index(group[0]), names.index(group[-1])] for group in ranking.groups()],
    }


def _pairs_grid(table: pd.DataFrame) -> Grid:
    header = ["First", "Second", "Blocks", "Ahead", "Alike", "Behind", "Difference", "p", "p (Holm)"]
    rows = [
        [
            *(HTML.escape(label_of(row[name])) for name in ("method", "other")),
            *(str(row[name]) for name in ("blocks", "wins", "ties", "losses")),
            points(row["difference"], HTML),
            *(HTML.escape(p_value(row[name])) for name in ("p", "p_holm")),
        ]
        for row in table.to_dict("records")
    ]
    return Grid(header, 2, rows, PAIRS, [])
