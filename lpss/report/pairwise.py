"""Every two sparse methods against each other over all blocks, with p corrected for the number of pairs."""

from itertools import combinations

import numpy as np
import pandas as pd

from lpss.errors import UsageError
from lpss.report.comparison import LAST, block_scores

FEWEST = 6  # blocks; with fewer no outcome has p < .05


def pairwise(table: pd.DataFrame) -> pd.DataFrame:
    """The methods of `comparison.block_scores` two by two, a row a pair, the smallest p first.

    Takes what `aggregate` returns. Columns: method, other (the one that is ahead in more blocks first); blocks; wins,
    ties, losses (of `method`, in blocks); difference (mean of method - other over the blocks in which both count,
    percentage points); p (two-sided Wilcoxon signed-rank test over the blocks, ties halved; where one missed the
    sparsity it has lost by more than any accuracy); p_holm (corrected for the pairs).
    Raises UsageError as `block_scores` does, and where there are fewer than `FEWEST` blocks.
    """
    scores, _ = block_scores(table)
    if len(scores) < FEWEST:
        raise UsageError(
            f"a test over blocks (a data set at a sparsity) needs {FEWEST} of them, with all methods; there "
            f"{'is' if len(scores) == 1 else 'are'} {len(scores)}"
        )
    pairs = pd.DataFrame([_row(scores, *pair) for pair in combinations(scores, 2)])
    return pairs.assign(p_holm=holm(pairs["p"])).sort_values("p", kind="stable", ignore_index=True)


def holm(p: pd.Series) -> pd.Series:
    """Holm's correction of p values for their number; NaN is no test and does not count."""
    known = p.dropna().sort_values(kind="stable")
    return (known * np.arange(len(known), 0, -1)).cummax().clip(upper=1).reindex(p.index)


def _row(scores: pd.DataFrame, method: str, other: str) -> dict:
    from scipy.stats import wilcoxon  # here, as it takes a second to load

    # Scores have four decimals: differences that are equal are so only up to rounding.
    difference = (scores[method] - scores[other]).round(6)
    if (difference < 0).sum() > (difference > 0).sum():
        method, other, difference = other, method, -difference
    counted = (scores[[method, other]] > LAST).all(axis=1)
    return {
        "method": method,
        "other": other,
        "blocks": len(scores),
        "wins": int((difference > 0).sum()),
        "ties": int((difference == 0).sum()),
        "losses": int((difference < 0).sum()),
        "difference": 100 * difference[counted].mean(),
        "p": wilcoxon(difference, zero_method="zsplit").pvalue if difference.any() else 1.0,
    }
