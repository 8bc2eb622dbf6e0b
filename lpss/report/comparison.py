"""Which method is better, and is the difference significant? Paired over seeds, ranked over data sets."""

import math
from dataclasses import dataclass

import pandas as pd

from lpss.errors import UsageError
from lpss.report.names import DATASETS, METHODS, rank
from lpss.report.published import READING_OF
from lpss.report.tables import CELL, aggregate, compare, finished, on_target, settle

# Methods compete within a block: data set, model and sparsity are the same, only the method differs.
BLOCK = ["experiment", "dataset", "model", "evaluated_on", "sparsity"]
LEVEL = 0.05  # of significance, and 1 - the coverage of intervals
LAST = -1.0  # the score of a cell that does not count: below every accuracy


@dataclass(frozen=True)
class Ranking:
    """Average ranks (1: best) of methods over blocks that all of them have.

    `sparsity`: of these blocks, None for all sparsities; `blocks`, `data_sets`: how many; `ranks`: method ->
    average rank, best first; `friedman_p`: that all methods are alike (chi-squared, corrected for ties; NaN
    for a single block or nothing but ties); `critical_difference`: Nemenyi's at `LEVEL`.
    """

    sparsity: float | None
    blocks: int
    data_sets: int
    ranks: dict[str, float]
    friedman_p: float
    critical_difference: float

    def groups(self) -> list[list[str]]:
        """The largest groups of two or more methods whose ranks differ by less than the critical difference."""
        names, found = list(self.ranks), []
        for i, first in enumerate(names):
            group = [m for m in names[i:] if self.ranks[m] - self.ranks[first] < self.critical_difference]
            if len(group) > 1 and not (found and group[-1] in found[-1]):
                found.append(group)
        return found


@dataclass(frozen=True)
class Ranks:
    """Rankings by sparsity, then over all where there are several; `left_out`: what completeness cost, as text."""

    rankings: list[Ranking]
    left_out: list[str]


def paired(runs: pd.DataFrame, method: str = "lpss", table: pd.DataFrame | None = None) -> pd.DataFrame:
    """`method` against the best other sparse method, a row for each `BLOCK` in which both were tried.

    Takes what `collect` returns, and its `aggregate` where that is there already. The best other is the one of the
    highest mean (to four decimals) among those that are `on_target`; other versions of the same method
    (lpss_demo beside lpss) do not compete.
    Columns: those of `BLOCK`; method, accuracy_mean, sparsity_reached; counts (bool: False where no run of
    the method finished or it missed the sparsity); best_other, best_other_mean ("", NaN where none counts);
    n (seeds both have finished), difference (mean over these seeds, method - best other), low, high (95 % t
    interval of it), p (two-sided paired t test; interval and p are NaN below two seeds, and where all
    differences are equal, as there is no spread to judge by); dense_mean, dense_difference;
    published (the paper's figure for the method), published_difference; notes (of both cells). Accuracies
    are 0..1, differences percentage points, method - other.
    Raises UsageError where a method has several settings in a cell, or nothing can be compared.
    """
    cells = _cells(aggregate(runs) if table is None else table)
    good = finished(settle(runs)).groupby(BLOCK)
    dense = cells[cells["method"] == "dense"].set_index(BLOCK[:-1])["accuracy_mean"]
    rows = []
    for block, rivals in _tried(cells).groupby(BLOCK, sort=False):
        mine = rivals[rivals["method"] == method]
        others = rivals[rivals["method"].replace(READING_OF) != READING_OF.get(method, method)]
        if mine.empty or not others["n"].any():
            continue
        mine, others = mine.iloc[0], others[others["counts"]]
        best = None if others.empty else others.loc[others["accuracy_mean"].round(4).idxmax()]
        rival = "" if best is None else best["method"]
        seeds = good.get_group(block).pivot_table("accuracy_last", "seed", "method").reindex(columns=[method, rival])
        baseline = dense.get(block[:-1], math.nan)
        rows.append(
            {
                **dict(zip(BLOCK, block, strict=True)),
                **mine[["method", "accuracy_mean", "sparsity_reached", "counts"]],
                "best_other": rival,
                "best_other_mean": math.nan if best is None else best["accuracy_mean"],
                **_t_test(seeds[method] - seeds[rival]),
                "dense_mean": baseline,
                "dense_difference": 100 * (mine["accuracy_mean"] - baseline),
                "published": mine["published"],
                "published_difference": mine["difference"],
                "notes": "; ".join(_named_notes(mine, best)),
            }
        )
    if not rows:
        raise UsageError(f"no data set and sparsity with runs of {method} and of another sparse method to compare with")
    return pd.DataFrame(rows)


def ranks(runs: pd.DataFrame) -> Ranks:
    """Average ranks of the sparse methods by sparsity and over all, after Demsar (JMLR 7, 2006).

    Takes what `collect` returns. Raises UsageError as `block_scores` does.
    """
    return rankings(aggregate(runs))


def rankings(table: pd.DataFrame) -> Ranks:
    """`ranks` of what `aggregate` returned: in a block (`block_scores`) the highest score has rank 1, ties share the
    mean of their ranks. Raises UsageError as `block_scores` does.
    """
    complete, left_out = block_scores(table)
    places = complete.rank(axis=1, ascending=False)
    parts = [(sparsity, part) for sparsity, part in places.groupby(level="sparsity")]
    if len(parts) > 1:
        parts.append((None, places))
    return Ranks([_ranking(*part) for part in parts], left_out)


def block_scores(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Mean accuracy, to four decimals, of each sparse method (a column) in each `BLOCK` (a row), without gaps; and what
    that cost, as text.

    Takes what `aggregate` returns. A block is a data set at a sparsity (within an experiment and model). The score of a
    method that missed the sparsity, or diverged with every seed, is `LAST`: its accuracy is that of another problem,
    and leaving the block out would forgive it. The emptiest method or block is left out until there is no gap.
    Raises UsageError where a method has several settings in a cell, accuracies on test and validation data
    would be mixed, or no block has two methods.
    """
    cells = _tried(_cells(table[table["method"] != "dense"]))
    if cells["evaluated_on"].nunique() > 1:
        raise UsageError("test and validation accuracies cannot be ranked together: give only the paths of one of them")
    scores = cells.assign(score=cells["accuracy_mean"].round(4).where(cells["counts"], LAST))
    scores = scores.pivot(index=BLOCK, columns="method", values="score")
    scores = scores[sorted(scores, key=lambda name: rank(name, METHODS))]
    complete = _complete(scores)
    if complete.empty:
        raise UsageError("no data set and sparsity with runs of two sparse methods: nothing to rank")
    return complete, _left_out(scores, complete)


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `aggregate`, with the paper's figures and whether a cell counts; each cell of one setting."""
    if table.empty:
        raise UsageError("no runs of sparse methods: nothing to compare")
    cells = compare(table)
    several = cells[cells.duplicated(CELL, keep=False)]
    if len(several):
        first = several.iloc[0]
        settings = several.loc[(several[CELL] == first[CELL]).all(axis=1), "settings"]
        name, place = METHODS.get(first["method"], first["method"]), DATASETS.get(first["dataset"], first["dataset"])
        raise UsageError(
            f"{name} on {place} has runs of several settings ({'; '.join(settings)}), which cannot "
            "compete as one: give only the paths of one"
        )
    return cells.assign(counts=(cells["n"] > 0) & on_target(cells["sparsity"], cells["sparsity_reached"]))


def _tried(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells of sparse methods that finished, or diverged, which says as much; a failed run says nothing."""
    tried = (cells["n"] > 0) | (cells["diverged"] > 0)
    return cells[(cells["method"] != "dense") & cells["sparsity"].notna() & tried]


def _t_test(differences: pd.Series) -> dict:
    # Accuracies are fractions: differences that are equal are so only up to rounding.
    points = (100 * differences.astype("float64")).dropna().round(9)
    low = high = p = math.nan
    if points.nunique() > 1:
        from scipy.stats import ttest_1samp  # here, as it takes a second to load

        test = ttest_1samp(points.to_numpy(), 0)
        (low, high), p = test.confidence_interval(1 - LEVEL), test.pvalue
    return {"n": len(points), "difference": points.mean(), "low": low, "high": high, "p": p}


def _named_notes(*cells: pd.Series | None):
    for cell in cells:
        if cell is not None and cell["notes"]:
            yield f"{METHODS.get(cell['method'], cell['method'])}: {cell['notes']}"


def _complete(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores (blocks x methods) without gaps, and without blocks of a single method."""
    while True:
        scores = scores[scores.count(axis=1) > 1]
        gaps, blocks, methods = scores.isna(), scores.isna().mean(axis=1), scores.isna().mean()
        if not gaps.any(axis=None):
            return scores
        if methods.max() > blocks.max():
            scores = scores.drop(columns=methods.idxmax())
        else:
            scores = scores.drop(index=blocks.idxmax())


def _left_out(scores: pd.DataFrame, complete: pd.DataFrame) -> list[str]:
    """What `_complete` took away: the methods, then the number of blocks."""
    gone = [name for name in scores if name not in complete]
    texts = [f"{METHODS.get(m, m)} (in {scores[m].count()} of {len(scores)} blocks)" for m in gone]
    if blocks := len(scores) - len(complete):
        texts.append(f"{blocks} of {len(scores)} blocks")
    return texts


def _ranking(sparsity: float | None, places: pd.DataFrame) -> Ranking:
    from scipy.stats import chi2, studentized_range  # here, as they take a second to load

    n, k = places.shape
    # Friedman's statistic in the form that holds with ties (Conover 1999, 5.8) and for two methods, too.
    spread = (places**2).to_numpy().sum() - n * k * (k + 1) ** 2 / 4
    p = math.nan
    if n > 1 and spread > 0:
        p = chi2.sf((k - 1) * ((places.sum() - n * (k + 1) / 2) ** 2).sum() / spread, k - 1)
    q = studentized_range.ppf(1 - LEVEL, k, math.inf) / math.sqrt(2)
    return Ranking(
        sparsity=sparsity,
        blocks=n,
        data_sets=places.index.get_level_values("dataset").nunique(),
        ranks=places.mean().sort_values(kind="stable").to_dict(),
        friedman_p=float(p),
        critical_difference=float(q * math.sqrt(k * (k + 1) / (6 * n))),
    )
