"""Paired differences and average ranks (see `comparison`) as markdown; the differences also as csv."""

import math
from pathlib import Path

import pandas as pd

from lpss.errors import UsageError
from lpss.files import write_text
from lpss.report.comparison import LEVEL, Ranking, Ranks, paired, ranks
from lpss.report.grid import MARKDOWN, Footnotes, Grid, Style, markdown_table
from lpss.report.looks import label_of
from lpss.report.render import label_columns, labels_of, points, sparsity_text
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
    title = f"## {label_of(table['method'].iloc[0])} and the best other sparse method"
    return f"{title}\n\n{markdown_table(*paired_grid(table, MARKDOWN))}"


def ranks_markdown(found: Ranks) -> str:
    """What `comparison.ranks` returned as a section that ends with a newline."""
    return f"## Average ranks\n\n{markdown_table(*ranks_grid(found, MARKDOWN))}"


def paired_grid(table: pd.DataFrame, style: Style) -> Grid:
    """The table of `comparison.paired`, row by row, with p corrected for the rows where it has that (`p_holm`)."""
    method, corrected = label_of(table["method"].iloc[0]), "p_holm" in table
    rows, notes, columns = [], Footnotes(), label_columns(table)
    for row in table.to_dict("records"):
        labels = labels_of(row, columns, style)
        best = f"{label_of(row['best_other'])} {four(row['best_other_mean'])}" if row["best_other"] else "-"
        rows.append(
            labels
            | {
                "Sparsity": sparsity_text(row["sparsity"]),
                style.escape(method): _counted(row) + notes.mark(row["notes"], style),
                "Best other": style.escape(best),
                "n": str(row["n"]),
                "Difference": points(row["difference"], style),
                "95 % interval": _interval(row["low"], row["high"], style),
                "p": style.escape(p_value(row["p"])),
                **({"p (Holm)": style.escape(p_value(row["p_holm"]))} if corrected else {}),
                "Dense": _beside(row["dense_mean"], row["dense_difference"], style),
                "Published": _beside(row["published"], row["published_difference"], style),
            }
        )
    of_rows = "p (Holm) is corrected for" if corrected else "p is not corrected for"
    legend = (
        f"Difference: {method} - best other, mean over the n seeds that both have, in percentage points, with 95 % t "
        "interval and p of the two-sided paired t test (-: fewer than two seeds, or all differences equal). Best "
        f"other: the sparse method of the highest mean among those that reached the sparsity (within "
        f"{decimals(MISSED, 2)}). It is chosen after the fact, which favours it, and {of_rows} "
        f"the number of rows. In parentheses: an accuracy of {method} that does not count, as it did not reach the "
        f"sparsity; behind Dense and Published (the paper's {method}): ours minus that. {_tally(table)}"
    )
    cells = [list(row.values()) for row in rows]
    return Grid(list(rows[0]), len(labels) + 1, cells, legend, [style.escape(text) for text in notes])


def ranks_grid(found: Ranks, style: Style) -> Grid:
    """What `comparison.ranks` returned, a row a ranking."""
    methods = list(found.rankings[-1].ranks)
    rows = [_ranking_row(ranking, methods, style) for ranking in found.rankings]
    legend = (
        "Average rank by mean accuracy (1: best, bold; a method that missed the sparsity or diverged with every seed "
        "is last) over blocks: a data set at a sparsity. Two methods differ where their ranks do by the critical "
        f"difference (CD, Nemenyi, {decimals(LEVEL, 2)}) or more; Friedman p: that all are alike."
    )
    if any(ranking.blocks > ranking.data_sets for ranking in found.rankings):
        legend += " A data set that has several blocks makes them dependent: p and CD over them are too small."
    if found.left_out:
        legend += f" Left out, as not complete: {', '.join(found.left_out)}."
    names = [style.escape(label_of(method)) for method in methods]
    return Grid(["Sparsity", "Blocks", "Data sets", *names, "Friedman p", "CD"], 1, rows, legend, [])


def ranking_title(ranking: Ranking) -> str:
    """Of which blocks a ranking is, and Friedman's p."""
    of = "All sparsities" if ranking.sparsity is None else f"Sparsity {sparsity_text(ranking.sparsity)}"
    blocks = f"{ranking.blocks} block{'s' if ranking.blocks > 1 else ''}"
    p = "" if math.isnan(ranking.friedman_p) else f", Friedman p {p_value(ranking.friedman_p, equals='= ')}"
    return f"{of}: {blocks}{p}"


def _ranking_row(ranking: Ranking, methods: list[str], style: Style) -> list[str]:
    shown = {method: f"{ranking.ranks[method]:.2f}" for method in methods}
    best = f"{min(ranking.ranks.values()):.2f}"
    return [
        "all" if ranking.sparsity is None else sparsity_text(ranking.sparsity),
        str(ranking.blocks),
        str(ranking.data_sets),
        *(style.bold(text) if text == best else text for text in shown.values()),
        style.escape(p_value(ranking.friedman_p)),
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


def _counted(row: dict) -> str:
    text = four(row["accuracy_mean"])
    return text if row["counts"] or math.isnan(row["accuracy_mean"]) else f"({text})"


def _beside(accuracy: float, difference: float, style: Style) -> str:
    text = four(accuracy)
    return text if math.isnan(difference) else f"{text} ({points(difference, style)})"


def _interval(low: float, high: float, style: Style) -> str:
    return "-" if math.isnan(low) else f"{points(low, style)} to {points(high, style)}"


def p_value(p: float, equals: str = "") -> str:
    """p to three decimals, behind `equals`, or < .001; a dash for NaN."""
    return "< .001" if p < 0.001 else equals + decimals(p, 3)
