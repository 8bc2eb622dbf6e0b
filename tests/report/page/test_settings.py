from lpss.report.collect import collect
from lpss.report.page.cells import cells_of
from lpss.report.page.settings import BETWEEN, ELSEWHERE, MANY, WITHIN, settings


def of(tmp_path):
    differing, fixed, unknown = settings(cells_of(collect(tmp_path / "outputs")))
    rows = [] if differing is None else differing.rows
    return {row[0]: row[1:] for row in rows}, {} if fixed is None else {row[0]: row[1:] for row in fixed.rows}, unknown


def config(method, **more):
    return {"method": {"name": method, **more.pop("options", {})}, "seed": 0, "threads": more.pop("threads", 1), **more}


def test_where_a_setting_differs(tmp_path, write_run):
    write_run("a", config=config("set", lr=0.1, epochs=5, p=1, clip=True, threads=1))
    write_run("b", config=config("set", lr=0.1, epochs=5, p=2, clip=True, threads=2))
    write_run("c", method="rigl", config=config("rigl", lr=0.2, epochs=5, p=1, clip=True, options={"alpha": 0.3}))
    write_run("d", dataset="letter", config=config("set", lr=0.1, epochs=9, p=1, clip=True))
    differing, fixed, unknown = of(tmp_path)
    assert {key: where for key, (where, _) in differing.items()} == {"p": WITHIN, "lr": BETWEEN, "epochs": ELSEWHERE}
    assert differing["lr"][1] == "<code>0.1</code> SET, SET, p=1, SET, p=2<br><code>0.2</code> RigL"
    assert fixed == {"clip": ["<code>true</code>", "all"], "method.alpha": ["<code>0.3</code>", "RigL"]}
    assert unknown == 0


def test_many_values_are_counted(tmp_path, write_run):
    for i in range(MANY + 1):
        write_run(f"r{i}", dataset="digits" if i else "letter", config=config("set", lr=i / 10))
    assert of(tmp_path)[0]["lr"] == [WITHIN, f"{MANY + 1} values"]


def test_runs_without_settings_on_record(tmp_path, write_run):
    write_run("a", config=None)
    assert of(tmp_path) == ({}, {}, 1)


def test_values_are_escaped(tmp_path, write_run):
    write_run("a", config=config("set", path="<b>"))
    assert of(tmp_path)[1]["path"][0] == "<code>&lt;b&gt;</code>"
