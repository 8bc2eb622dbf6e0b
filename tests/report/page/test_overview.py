from lpss.report.collect import collect
from lpss.report.page.cells import cells_of
from lpss.report.page.overview import best, duration, facts, wins


def test_facts(tmp_path, sweep, write_run):
    write_run("late", dataset="letter", seed=9, finished="2026-03-04T00:00:00+00:00", wall_time_s=7200)
    found = dict(facts(cells_of(collect(tmp_path / "outputs"))))
    assert found["Runs"] == "37" and found["Data sets"] == found["Methods"] == "3"
    assert found["Sparsities"] == ".5, .9" and found["Runs per cell"] == "2 to 3"
    assert found["Computing time"] == "2.0 h" and found["Finished"] == "2026-01-01 to 2026-03-04"


def test_durations():
    assert [duration(seconds) for seconds in (0, 99, 100, 7200, 200_000)] == [
        "0 s",
        "99 s",
        "1.7 min",
        "2.0 h",
        "2.3 days",
    ]


def test_a_shared_first_place_is_one_row_and_counted_for_all(tmp_path, write_seeds):
    write_seeds([0.9, 0.92], method="set")
    write_seeds([0.91], method="rigl")
    write_seeds([0.89], method="snip")
    write_seeds([0.99], method="lpss", sparsity_weights=0.5)  # missed the sparsity
    write_seeds([0.95], method="dense", sparsity=None, sparsity_weights=0)
    cells = cells_of(collect(tmp_path / "outputs"))
    table = best(cells)
    (row,) = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert row["Best"] == "<b>SET</b>, <b>RigL</b>" and row["Next"] == "SNIP"
    assert (row["Accuracy"], row["Ahead"], row["Dense"], row["Against dense"]) == (".9100", "+2.00", ".9500", "−4.00")
    assert wins(cells) == [("SET", 1, 1), ("RigL", 1, 1)]


def test_none_is_best_without_competition(tmp_path, write_seeds):
    write_seeds([0.9], method="set")
    write_seeds([0.9], method="rigl", evaluated_on="validation")
    cells = cells_of(collect(tmp_path / "outputs"))
    assert best(cells) is None and wins(cells) == []
