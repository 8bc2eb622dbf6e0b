import math

import pytest
from scipy.stats import friedmanchisquare

from lpss.errors import UsageError
from lpss.report.collect import collect
from lpss.report.comparison import Ranking, paired, ranks

# Ranks of Demsar (2006), Table 6: C4.5, with m, with cf, with both, on 14 data sets.
DEMSAR = [
    (4, 3, 2, 1),
    (1, 2, 3, 4),
    (4, 1, 2, 3),
    (4, 1, 3, 2),
    (4, 2, 3, 1),
    (1, 2.5, 4, 2.5),
    (3, 2, 4, 1),
    (2.5, 2.5, 4, 1),
    (4, 3, 2, 1),
    (2.5, 2.5, 2.5, 2.5),
    (4, 2.5, 1, 2.5),
    (3, 2, 4, 1),
    (4, 1, 2, 3),
    (3, 1, 4, 2),
]
FOUR = ("set", "static", "rigl", "snip")


@pytest.fixture
def runs(tmp_path):
    return lambda: collect(tmp_path / "outputs")


def test_a_paired_difference_by_hand(runs, write_seeds):
    write_seeds([0.91, 0.93, 0.95], method="lpss", dataset="letter", sparsity=0.5, sparsity_weights=0.5)
    write_seeds([0.90, 0.91, 0.92, 0.99], method="rigl", dataset="letter", sparsity=0.5, sparsity_weights=0.5)
    write_seeds([0.80, 0.99, 0.90], method="set", dataset="letter", sparsity=0.5, sparsity_weights=0.5)
    write_seeds([0.94, 0.96], method="dense", dataset="letter", sparsity=0, sparsity_weights=0)
    row = paired(runs()).iloc[0]
    assert (row["method"], row["best_other"], row["n"], row["counts"], row["notes"]) == ("lpss", "rigl", 3, True, "")
    assert row["accuracy_mean"] == pytest.approx(0.93) and row["best_other_mean"] == pytest.approx(0.93)
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3); 4.302653 is t's quantile at .975 for 2 degrees.
    assert row["difference"] == pytest.approx(2)
    assert [row["low"], row["high"]] == pytest.approx([2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)])
    t = 2 * math.sqrt(3)
    assert row["p"] == pytest.approx(1 - t / math.sqrt(2 + t**2))  # t's distribution with 2 degrees, in closed form
    assert (row["dense_mean"], row["dense_difference"]) == pytest.approx((0.95, -2))
    assert (row["published"], row["published_difference"]) == pytest.approx((0.4546, 47.54))


@pytest.mark.parametrize(
    ("mine", "theirs", "n", "difference"),
    [
        ([0.9], [0.8], 1, 10),
        ([0.9, 0.8, 0.7], [0.8, 0.7, 0.6], 3, 10),
        ([1.0, 1.0], [1.0, 1.0], 2, 0),
    ],
)
def test_without_spread_there_is_no_test(runs, write_seeds, mine, theirs, n, difference):
    write_seeds(mine, method="lpss")
    write_seeds(theirs, method="set")
    row = paired(runs()).iloc[0]
    assert row["n"] == n and row["difference"] == pytest.approx(difference)
    assert all(math.isnan(row[name]) for name in ("low", "high", "p", "dense_mean", "dense_difference"))


def test_runs_without_common_seeds_have_no_difference(runs, write_run):
    write_run(method="lpss", seed=0)
    write_run(method="set", seed=1)
    write_run("none", method="rigl", seed=None, accuracy_last=0.95)
    row = paired(runs()).iloc[0]
    assert row["best_other"] == "rigl" and row["n"] == 0 and math.isnan(row["difference"])


def test_a_missed_sparsity_is_listed_but_neither_counts_nor_is_a_rival(runs, write_run):
    write_run(method="lpss", sparsity_weights=0.867)
    write_run(method="gmp", sparsity_weights=0.85, accuracy_last=0.99)
    write_run(method="set", accuracy_last=0.8)
    for method, reached in (("lpss", 0.5), ("gmp", 0.48)):
        write_run(method=method, sparsity=0.5, sparsity_weights=reached)
    half, ninety = paired(runs()).to_dict("records")
    assert (half["counts"], half["best_other"], half["n"]) == (True, "", 0) and math.isnan(half["best_other_mean"])
    assert (ninety["counts"], ninety["best_other"]) == (False, "set")
    assert ninety["difference"] == pytest.approx(10)
    assert ninety["notes"] == "LpSS: reached sparsity .867, not .900"


def test_a_cell_that_diverged_is_listed_one_that_failed_or_is_alone_is_not(runs, write_run):
    for dataset, status in (("adult", "diverged"), ("dna", "failed")):
        write_run(dataset=dataset, method="lpss", status=status, accuracy_last=None)
        write_run(dataset=dataset, method="set")
    write_run(dataset="letter", method="lpss")
    write_run(dataset="letter", method="lpss_demo")  # the same method, read otherwise
    write_run(dataset="letter", method="dense", sparsity=0, sparsity_weights=0)
    table = paired(runs())
    assert table[["dataset", "counts", "n", "notes"]].values.tolist() == [
        ["adult", False, 0, "LpSS: 1 of 1 diverged (seed 0), not averaged"],
    ]
    with pytest.raises(UsageError, match="runs of lpss_demo and of another"):
        paired(runs(), "lpss_demo")


def test_runs_of_no_known_sparsity_tell_nothing(runs, sweep, write_run):
    for method in ("set", "rigl", "lpss"):
        write_run(f"unknown-{method}", dataset="web", method=method, sparsity=None)
    assert "web" not in set(paired(runs())["dataset"]) and ranks(runs()) == ranks(sweep)


def test_rows_are_apart_by_experiment_model_and_place(runs, write_run):
    for change in ({}, {"experiment": "b"}, {"model": "wrn"}, {"evaluated_on": "validation"}):
        for method in ("dense", "set", "lpss"):
            accuracy = 0.9 + 0.01 * len(str(change)) / 100
            write_run(
                f"{method}{change}",
                method=method,
                sparsity=0.0 if method == "dense" else 0.9,
                **change,
                accuracy_last=accuracy,
            )
    table = paired(runs())
    assert len(table) == 4 and table["dense_difference"].abs().max() < 1e-9


def test_another_method_can_be_judged(sweep):
    table = paired(sweep, "set")
    assert len(table) == 6 and set(table["best_other"]) == {"lpss"} and table["difference"].max() < -3.9


def test_several_settings_are_not_mixed(runs, write_run):
    for p in (1.1, 1.2):
        write_run(f"p{p}", method="lpss", config={"optimizer": {"p": p}})
    write_run(method="set")
    for judge in (paired, ranks):
        with pytest.raises(UsageError, match=r"LpSS on Digits .* \(optimizer.p=1.1; optimizer.p=1.2\).* paths of one"):
            judge(runs())


def test_demsars_example(runs, write_run):
    for i, places in enumerate(DEMSAR):
        for method, place in zip(FOUR, places, strict=True):
            write_run(dataset=f"d{i}", method=method, accuracy_last=1 - place / 10)
    found = ranks(runs())
    (ranking,) = found.rankings
    assert (ranking.sparsity, ranking.blocks, ranking.data_sets, found.left_out) == (0.9, 14, 14, [])
    assert {name: round(mean, 3) for name, mean in ranking.ranks.items()} == {
        "snip": 1.964,
        "set": 3.143,
        "rigl": 2.893,
        "static": 2.000,
    }
    assert list(ranking.ranks) == ["snip", "static", "rigl", "set"]
    assert round(ranking.critical_difference, 2) == 1.25
    assert ranking.friedman_p == pytest.approx(friedmanchisquare(*zip(*DEMSAR, strict=True)).pvalue)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (7, 2.949), (10, 3.164)])
def test_nemenyis_critical_values(runs, write_run, k, q):
    for i in range(k):
        write_run(method=f"m{i}", accuracy_last=0.9 - 0.01 * i)
    (ranking,) = ranks(runs()).rankings
    assert ranking.critical_difference / math.sqrt(k * (k + 1) / 6) == pytest.approx(q, abs=1e-3)  # Demsar, Table 5
    assert math.isnan(ranking.friedman_p)


def test_ranks_by_sparsity_and_over_all(sweep):
    found = ranks(sweep)
    sizes = [(one.sparsity, one.blocks, one.data_sets) for one in found.rankings]
    assert sizes == [(0.5, 3, 3), (0.9, 3, 3), (None, 6, 3)]
    assert all(one.ranks == {"lpss": 1, "rigl": 2, "set": 3} for one in found.rankings)
    # Friedman: 12 / (6 * 3 * 4) * (6**2 + 12**2 + 18**2) - 3 * 6 * 4 = 12; its tail, 2 degrees: exp(-x / 2).
    assert found.rankings[-1].friedman_p == pytest.approx(math.exp(-6))


def test_ties_are_as_printed_and_nothing_but_ties_proves_nothing(runs, write_run):
    for dataset in ("adult", "dna"):
        write_run(dataset=dataset, method="set", accuracy_last=0.90001)
        write_run(dataset=dataset, method="lpss", accuracy_last=0.90003)
    (ranking,) = ranks(runs()).rankings
    assert ranking.ranks == {"set": 1.5, "lpss": 1.5} and math.isnan(ranking.friedman_p)


def test_a_missed_sparsity_and_divergence_are_last(runs, write_run):
    write_run(method="lpss", accuracy_last=0.99, sparsity_weights=0.867)
    write_run(method="gmp", accuracy_last=None, status="diverged")
    write_run(method="set", accuracy_last=0.5)
    write_run(method="rigl", accuracy_last=0.6)
    assert ranks(runs()).rankings[0].ranks == {"rigl": 1, "set": 2, "gmp": 3.5, "lpss": 3.5}


def test_only_what_is_complete_is_ranked_and_the_rest_is_named(runs, write_run):
    for i in range(4):
        for j, method in enumerate(FOUR):
            write_run(
                dataset=f"d{i}",
                method=method,
                accuracy_last=0.9 - 0.01 * j,
                status="failed" if (i, j) == (3, 1) else "finished",
            )
    write_run(dataset="d0", method="gmp")
    write_run(dataset="alone", method="lpss")
    write_run(dataset="d0", method="dense", sparsity=0, sparsity_weights=0)
    found = ranks(runs())
    assert found.rankings[0].blocks == 3 and list(found.rankings[0].ranks) == list(FOUR)
    assert found.left_out == ["GMP (in 1 of 5 blocks)", "LpSS (in 1 of 5 blocks)", "2 of 5 blocks"]


def test_what_cannot_be_ranked_is_explained(runs, write_run):
    write_run(method="dense", sparsity=0, sparsity_weights=0)
    with pytest.raises(UsageError, match="no runs of sparse methods"):
        ranks(runs())
    write_run(method="set")
    write_run(method="rigl", status="failed", accuracy_last=None)
    with pytest.raises(UsageError, match="two sparse methods: nothing to rank"):
        ranks(runs())
    with pytest.raises(UsageError, match="runs of lpss and of another"):
        paired(runs())
    write_run("v", method="set", evaluated_on="validation")
    with pytest.raises(UsageError, match="test and validation"):
        ranks(runs())


def test_groups_are_those_that_cannot_be_told_apart():
    def groups(difference):
        return Ranking(None, 1, 1, {"a": 1.0, "b": 2.0, "c": 2.5, "d": 4.0}, 0.01, difference).groups()

    assert groups(9) == [["a", "b", "c", "d"]]
    assert groups(1.6) == [["a", "b", "c"], ["c", "d"]]
    assert groups(1.5) == [["a", "b"], ["b", "c"]]  # d - c is the critical difference: they differ
    assert groups(0.5) == []


def test_the_order_of_runs_does_not_matter(sweep):
    shuffled = sweep.sample(frac=1, random_state=1)
    assert paired(sweep).equals(paired(shuffled)) and ranks(sweep) == ranks(shuffled)
