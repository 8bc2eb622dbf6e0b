from lpss.report.collect import collect
from lpss.report.page.comparison import comparisons
from lpss.report.tables import aggregate


def of(runs):
    return comparisons(runs, aggregate(runs))


def test_ranks_pairs_and_lpss_against_the_best_other(sweep):
    (one,) = of(sweep)
    assert one.title == "" and one.reference == "LpSS"
    assert [diagram["title"] for diagram in one.diagrams][-1] == "All sparsities: 6 blocks, Friedman p = .002"
    assert one.diagrams[-1]["ranks"] == [["LpSS", 1.0], ["RigL", 2.0], ["SET", 3.0]]
    assert one.diagrams[-1]["groups"] == [[0, 1], [1, 2]]
    assert one.ranks.rows[-1][3:6] == ["<b>1.00</b>", "2.00", "3.00"]
    assert [row[:3] for row in one.pairs.rows][0] == ["RigL", "SET", "6"]
    assert "p (Holm)" in one.paired.header and "p (Holm) is corrected for" in one.paired.legend


def test_experiments_and_parts_of_the_data_are_compared_apart(tmp_path, write_seeds):
    for experiment in ("one", "two"):
        for method, accuracy in (("set", 0.8), ("rigl", 0.9 if experiment == "one" else 0.7)):
            write_seeds([accuracy], name=f"{experiment}/{method}", experiment=experiment, method=method)
    write_seeds([0.99], name="v", experiment="one", method="set", evaluated_on="validation")
    one, alone, two = of(collect(tmp_path / "outputs"))
    assert [part.title for part in (one, alone, two)] == ["one, test", "one, validation", "two, test"]
    assert one.reference == "RigL" and two.reference == "SET"  # the best, without LpSS
    assert one.diagrams == []  # of a single block
    assert alone.ranks.startswith("No data set and sparsity with runs of two sparse methods")
    assert one.pairs == "A test over blocks (a data set at a sparsity) needs 6 of them, with all methods; there is 1."


def test_why_there_is_none_is_a_sentence(tmp_path, write_seeds):
    write_seeds([0.9], method="dense", sparsity=None, sparsity_weights=0)
    (one,) = of(collect(tmp_path / "outputs"))
    assert one.ranks == one.pairs == "No runs of sparse methods: nothing to compare."
    assert one.paired.startswith("No data set and sparsity with runs of lpss")
