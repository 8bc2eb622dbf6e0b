"""Paired differences and average ranks (see `comparison`) as markdown; the differences also as csv."""

import math
from pathlib import Path

import pandas as pd

from lpss.errors import UsageError
from lpss.files import write_text
from lpss.report.comparison import LEVEL, Ranking, Ranks, paired, ranks
from lpss.report.names import METHODS
from lpss.report.render import MARKDOWN, Footnotes, labels_of, markdown_table, points, sparsity_text
from lpss.report.tables import MISSED, decimals, four


def write_comparison(runs: pd.DataFrame, path: str | Path, method: str = "lpss") -> None:
    """How `method` fares in the runs of `collect`: .md, differences and ranks; .csv, differences, all digits.

    Raises UsageError for another suffix, and as `paired` and `ranks` do; LpssError where `path` cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".md", ".csv"):
        raise UsageError(f"cannot write {path}: use a name that ends in .md or .csv")
    table = paired(runs, method)
    if suffix == ".csv":
        text = table.to_csv(index=False, lineterminator="\n")
    else:
        text = f"{paired_markdown(table)}\n{ranks_markdown(ranks(runs))}"
    write_text(path, text)


def paired_markdown(table: pd.DataFrame) -> str:
    """The table of `comparison.paired` as a section that ends with a newline."""
    method = _name(table["method"].iloc[0])
    rows, notes = [], Footnotes()
    for row in table.to_dict("records"):
        labels = labels_of(row, table, MARKDOWN)
        best = f"{_name(row['best_other'])} {four(row['best_other_mean'])}" if row["best_other"] else "-"
        rows.append(
            labels
            | {
                "Sparsity": sparsity_text(row["sparsity"]),
                method: _counted(row) + notes.mark(row["notes"], MARKDOWN),
                "Best other": best,
                "n": str(row["n"]),
                "Difference": points(row["difference"], MARKDOWN),
                "95 % interval": _interval(row["low"], row["high"]),
                "p": p_value(row["p"]),
                "Dense": _beside(row["dense_mean"], row["dense_difference"]),
                "Published": _beside(row["published"], row["published_difference"]),
            }
        )
    legend = (
        f"Difference: {method} - best other, mean over the n seeds that both have, in percentage points, with 95 % t "
        "interval and p of the two-sided paired t test (-: fewer than two seeds, or all differences equal). Best "
        f"other: the sparse method of the highest mean among those that reached the sparsity (within "
        f"{decimals(MISSED, 2)}). It is chosen after the fact, which favours it, and p is not corrected for "
        f"the number of rows. In parentheses: an accuracy of {method} that does not count, as it did not reach the "
        f"sparsity; behind Dense and Published (the paper's {method}): ours minus that. {_tally(table)}"
    )
    cells = [list(row.values()) for row in rows]
    texts = [MARKDOWN.escape(text) for text in notes]
    body = markdown_table(list(rows[0]), len(labels) + 1, cells, legend, texts)
    return f"## {method} and the best other sparse method\n\n{body}"


def ranks_markdown(found: Ranks) -> str:
    """What `comparison.ranks` returned as a section that ends with a newline."""
    methods = list(found.rankings[-1].ranks)
    rows = [_ranking_row(ranking, methods) for ranking in found.rankings]
    several = any(ranking.blocks > ranking.data_sets for ranking in found.rankings)
    legend = (
        "Average rank by mean accuracy (1: best, bold; a method that missed the sparsity or diverged with every seed "
        "is last) over blocks: a data set at a sparsity. Two methods differ where their ranks do by the critical "
        f"difference (CD, Nemenyi, {decimals(LEVEL, 2)}) or more; Friedman p: that all are alike."
    )
    if several:
        legend += " A data set that has several blocks makes them dependent: p and CD over them are too small."
    if found.left_out:
        legend += f" Left out, as not complete: {', '.join(found.left_out)}."
    header = ["Sparsity", "Blocks", "Data sets", *map(_name, methods), "Friedman p", "CD"]
    return f"## Average ranks\n\n{markdown_table(header, 1, rows, legend, [])}"


def _ranking_row(ranking: Ranking, methods: list[str]) -> list[str]:
    shown = {method: f"{ranking.ranks[method]:.2f}" for method in methods}
    best = f"{min(ranking.ranks.values()):.2f}"
    return [
        "all" if ranking.sparsity is None else sparsity_text(ranking.sparsity),
        str(ranking.blocks),
        str(ranking.data_sets),
        *(MARKDOWN.bold(text) if text == best else text for text in shown.values()),
        p_value(ranking.friedman_p),
        f"{ranking.critical_difference:.2f}",
    ]


def _tally(table: pd.DataFrame) -> str:
    """In how many rows the method is ahead or behind, and in how many of these significantly."""
    counted = table[table["counts"] & (table["n"] > 0)]
    sure = counted["p"] < LEVEL
    ahead, behind = counted["difference"] > 0, counted["difference"] < 0
    return (
        f"Rows that count: {len(counted)} of {len(table)}; ahead in {ahead.sum()} ({(ahead & sure).sum()} with "
        f"p < {decimals(LEVEL, 2)}), behind in {behind.sum()} ({(behind & sure).sum()})."
    )


def _name(method: str) -> str:
    return MARKDOWN.escape(METHODS.get(method, method))


def _counted(row: dict) -> str:
    text = four(row["accuracy_mean"])
    return text if row["counts"] or math.isnan(row["accuracy_mean"]) else f"({text})"


def _beside(accuracy: float, difference: float) -> str:
    text = four(accuracy)
    return text if math.isnan(difference) else f"{text} ({points(difference, MARKDOWN)})"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{points(low, MARKDOWN)} to {points(high, MARKDOWN)}"


def p_value(p: float, equals: str = "") -> str:
    """p to three decimals, behind `equals`, or < .001; a dash for NaN."""
    return "< .001" if p < 0.001 else equals + decimals(p, 3)
