from lpss.report.collect import collect
from lpss.report.page import provenance
from lpss.report.page.cells import cells_of
from lpss.report.page.provenance import failures, lost_counts, machines, warnings


def test_what_is_not_averaged_is_listed_with_its_reason(tmp_path, write_run):
    write_run(seed=0)
    write_run(seed=1, status="failed", error="OSError: no space", accuracy_last=None)
    write_run(seed=2, accuracy_last=None)
    cells = cells_of(collect(tmp_path / "outputs"))
    rows = [dict(zip(failures(cells).header, row, strict=True)) for row in failures(cells).rows]
    assert [(row["Seed"], row["Status"], row["Error"]) for row in rows] == [
        ("1", "failed", "OSError: no space"),
        ("2", "finished without a number", "-"),
    ]
    assert lost_counts(cells.runs, [tmp_path]) == ["1 failed", "1 finished without a number", "1 not ended"]


def test_equal_warnings_are_one_row(tmp_path, write_run, monkeypatch):
    write_run(seed=0, warnings=["layer <a> is empty", "slow"])
    write_run(seed=1, method="rigl", warnings=["layer <a> is empty"])
    write_run(seed=2, warnings="no list")
    cells = cells_of(collect(tmp_path / "outputs"))
    table = warnings(cells)
    assert [(row[0], row[1], row[3]) for row in table.rows] == [
        ("layer &lt;a&gt; is empty", "SET, RigL", "2"),
        ("slow", "SET", "1"),
        ("no list", "SET", "1"),
    ]
    monkeypatch.setattr(provenance, "MANY", 1)
    assert len(warnings(cells).rows) == 1 and warnings(cells).legend.startswith("2 more warnings")


def test_no_failures_and_no_warnings(tmp_path, sweep):
    cells = cells_of(sweep)
    assert failures(cells) is None and warnings(cells) is None and lost_counts(cells.runs, []) == []


def test_versions_and_machines_are_counted(tmp_path, write_run):
    write_run(seed=0, threads=1, modes={"backend": "sparse", "layers": ["fc1"]})
    write_run(seed=1, versions={"torch": "2.6.0"}, device_name="b cpu")
    rows = machines(collect(tmp_path / "outputs")).rows
    assert ["torch", "2.6.0", "2"] in rows and ["lpss", "not recorded", "1"] in rows
    assert ["machine", "a cpu", "1"] in rows and ["machine", "b cpu", "1"] in rows
    assert ["layers", "[&quot;fc1&quot;]", "1"] in rows and ["threads", "not recorded", "1"] in rows
