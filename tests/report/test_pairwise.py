import math

import pandas as pd
import pytest

from lpss.errors import UsageError
from lpss.report.collect import collect
from lpss.report.pairwise import holm, pairwise
from lpss.report.tables import aggregate


def test_every_two_methods_over_all_blocks(sweep):
    table = pairwise(aggregate(sweep))
    assert [(*row,) for row in table[["method", "other", "wins", "ties", "losses"]].values.tolist()] == [
        ("rigl", "set", 6, 0, 0),
        ("lpss", "set", 6, 0, 0),
        ("lpss", "rigl", 6, 0, 0),
    ]
    # Six differences of one sign have p = 2 / 2^6, exactly where they differ; the smallest of three is corrected by 3.
    assert table["p"].max() < 0.05 and table["p_holm"].tolist() == pytest.approx(
        (3 * table["p"]).clip(upper=1).tolist()
    )
    assert table["difference"].tolist() == pytest.approx([2.05, 4.1, 2.05])


def test_a_method_that_missed_the_sparsity_has_lost_and_its_accuracy_does_not_count(tmp_path, write_seeds):
    for i, dataset in enumerate(("adult", "dna", "letter", "climate", "web", "mushroom")):
        write_seeds([0.9 - 0.01 * i], method="set", dataset=dataset)
        write_seeds([0.8 - 0.02 * i], method="rigl", dataset=dataset)
        write_seeds([0.99], method="lpss", dataset=dataset, sparsity_weights=0.5)
    table = pairwise(aggregate(collect(tmp_path / "outputs"))).set_index(["method", "other"])
    assert table.loc[("set", "lpss"), "wins"] == table.loc[("rigl", "lpss"), "wins"] == 6
    assert math.isnan(table.loc[("set", "lpss"), "difference"])
    assert table.loc[("set", "rigl"), "difference"] == pytest.approx(12.5)


def test_methods_that_are_always_alike_have_p_one(tmp_path, write_seeds):
    for dataset in ("adult", "dna", "letter", "climate", "web", "mushroom"):
        for method in ("set", "rigl"):
            write_seeds([0.9], method=method, dataset=dataset)
    row = pairwise(aggregate(collect(tmp_path / "outputs"))).iloc[0]
    assert (row["ties"], row["p"], row["p_holm"], row["difference"]) == (6, 1, 1, 0)


def test_few_blocks_are_no_test(sweep):
    with pytest.raises(UsageError, match="needs 6 of them, with all methods; there are 3"):
        pairwise(aggregate(sweep[sweep["sparsity"] == 0.9]))
    with pytest.raises(UsageError, match="there is 1"):
        pairwise(aggregate(sweep[(sweep["sparsity"] == 0.9) & (sweep["dataset"] == "dna")]))


def test_holm_by_hand():
    # 4 x .01; 3 x .02; 2 x .03 = .06, as large as before; 1 x .04 may not be less than what precedes it.
    corrected = holm(pd.Series([0.04, 0.01, math.nan, 0.03, 0.02]))
    assert corrected.drop(2).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06]) and math.isnan(corrected[2])
    assert holm(pd.Series([0.9, 0.8])).tolist() == [1, 1]
