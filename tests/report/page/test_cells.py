import math

from lpss.report.collect import collect
from lpss.report.page.cells import MANY, cells_of, number, numbers


def test_runs_know_their_cell_and_cells_their_block(tmp_path, sweep, write_run):
    write_run("lost", dataset="dna", status="failed", seed=7)
    cells = cells_of(collect(tmp_path / "outputs"))
    for run in cells.runs.to_dict("records"):
        cell = cells.table.iloc[run["cell"]]
        assert (cell["dataset"], cell["method"], cell["sparsity"]) == (run["dataset"], run["method"], run["sparsity"])
    assert cells.runs.loc[~cells.runs["averaged"], "seed"].tolist() == [7]
    assert cells.blocks == [{"Data set": "Adult"}, {"Data set": "DNA"}, {"Data set": "Letter"}]
    assert {cells.blocks[block]["Data set"] for block in cells.table.loc[cells.table["dataset"] == "dna", "block"]} == {
        "DNA"
    }


def test_blocks_say_what_tells_them_apart(tmp_path, write_run):
    for experiment in ("one", "two"):
        write_run(f"{experiment}/a", experiment=experiment)
    write_run("v", experiment="one", evaluated_on="validation", seed=1)
    assert [set(block) for block in cells_of(collect(tmp_path / "outputs")).blocks] == [
        {"Data set", "Experiment", "Evaluated on"}
    ] * 3


def test_where_a_method_has_many_settings_they_share_its_look(tmp_path, write_run):
    for seed, count in ((0, 2), (1, MANY + 1)):
        for i in range(count):
            write_run(f"{seed}-{i}", seed=0, config={"method": {"name": "set", "fraction": i / 100}})
        cells = cells_of(collect(tmp_path / "outputs"))
        few = len(cells.kinds) <= MANY
        assert few == (seed == 0) and all((kind == label) == few for label, kind in cells.kinds.items())
        assert set(cells.looks) == set(cells.kinds.values())


def test_numbers_are_what_json_can_hold():
    assert numbers([0.12345678, math.nan, math.inf, -1e300]) == [0.123457, None, None, -1e300]
    assert number(None) is None
