import csv
import io
import re

import pandas as pd
import pytest

from lpss.errors import UsageError
from lpss.report.collect import collect, to_results_csv
from lpss.report.render import DEFAULT_LAYOUT, LAYOUTS, render
from lpss.report.tables import aggregate, compare

EVERY = [(format, layout) for format in DEFAULT_LAYOUT for layout in LAYOUTS]


@pytest.fixture
def runs(tmp_path, write_seeds):
    write_seeds([0.97, 0.98], method="dense", sparsity=None, sparsity_weights=0)
    write_seeds([0.90, 0.92], method="set", wall_time_s=1.4)
    write_seeds([0.94, 0.95], method="lpss", sparsity_weights=0.893)
    write_seeds([0.96], method="set", sparsity=0.5, sparsity_weights=0.5)
    write_seeds([0.93], method="rigl", dataset="cifar10", model="wrn")
    write_seeds([None], method="snip", dataset="cifar10", model="wrn", status="diverged")
    write_seeds([0.99], method="gmp", sparsity_weights=0.867)
    return collect(tmp_path / "outputs")


def lines(text):
    """The cells of each line of a markdown table."""
    return [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in text.splitlines() if line.startswith("|")]


def test_long_markdown(runs):
    text = render(aggregate(runs))
    assert lines(text) == [
        "Data set,Sparsity,Method,Accuracy,n,Best epoch,Reached,Train FLOPs,Train time,Test FLOPs".split(","),
        [*["-" * 8] * 2, "-" * 6, *(cell for cell in lines(text)[1][3:])],
        "CIFAR-10,.9,RigL,.9300,1,.9200,.900,.300,-,.120".split(","),
        "CIFAR-10,.9,SNIP,diverged [1],0,-,-,-,-,-".split(","),
        "Digits,0,Dense,.9750 ± .0071,2,.9200,.000,.300,1.00,.120".split(","),
        "Digits,.5,SET,.9600,1,.9200,.500,.300,1.00,.120".split(","),
        "Digits,.9,SET,.9100 ± .0141,2,.9200,.900,.300,.40,.120".split(","),
        "Digits,.9,GMP,.9900 [2],1,.9200,.867,.300,1.00,.120".split(","),
        "Digits,.9,LpSS,**.9450 ± .0071**,2,.9200,.893,.300,1.00,.120".split(","),
    ]
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1  # aligned
    assert "- [1] 1 of 1 diverged (seed 0), not averaged\n- [2] reached sparsity .867, not .900\n" in text


def test_wide_markdown_repeats_dense_on_every_line(runs):
    rows = lines(render(aggregate(runs), layout="wide"))
    assert rows[0] == ["Data set", "Sparsity", "Dense", "SET", "RigL", "SNIP", "GMP", "LpSS"]
    assert rows[2] == ["CIFAR-10", ".9", "", "", ".9300 (n=1)", "diverged [1]", "", ""]
    assert rows[3] == ["Digits", ".5", ".9750 ± .0071 (n=2)", ".9600 (n=1)", "", "", "", ""]
    assert rows[4][6:] == [".9900 (n=1, s=.867) [2]", "**.9450 ± .0071** (n=2, s=.893)"]


def test_published_beside_ours(runs):
    table = compare(aggregate(runs))
    long = lines(render(table))
    assert long[0][-2:] == ["Published", "Diff."] and long[2][-2:] == [".9285", "+0.15"]
    assert long[4][-2:] == ["-", "-"]
    wide = lines(render(table, layout="wide"))
    assert wide[3] == ["", "", "published", "", "", ".9285 (+0.15)", ".9146 (-)", "", ""]


def test_columns_that_tell_rows_apart_appear(tmp_path, write_run):
    for p in (1.1, 1.2):
        write_run(f"p{p}", method="lpss", config={"optimizer": {"p": p}})
    write_run("v", method="lpss", evaluated_on="validation", experiment=None)
    text = render(aggregate(collect(tmp_path / "outputs")))
    assert lines(text)[0][:6] == ["Data set", "Experiment", "Evaluated on", "Sparsity", "Method", "Settings"]
    assert "optimizer.p=1.1" in text and "test set or validation part" in text
    wide = lines(render(aggregate(collect(tmp_path / "outputs")), layout="wide"))
    assert [row[4] for row in wide[2:]] == ["", "optimizer.p=1.1", "optimizer.p=1.2"]


def test_the_sparsity_before_the_exact_finish_has_a_column_where_known(tmp_path, write_run):
    write_run(method="set")
    write_run(method="lpss", sparsity_own=0.8712)
    text = render(aggregate(collect(tmp_path / "outputs")))
    assert lines(text)[0][6:8] == ["Reached", "Before finish"] and "Before finish: the same before LpSS" in text
    assert [row[7] for row in lines(text)[2:]] == ["-", ".871"]
    assert "sparsity_own" in render(aggregate(collect(tmp_path / "outputs")), "csv")


def test_only_dense_has_a_line(tmp_path, write_run):
    write_run(method="dense", sparsity=None, sparsity_weights=0)
    rows = lines(render(aggregate(collect(tmp_path / "outputs")), layout="wide"))
    assert rows[2] == ["Digits", "0", ".9000 (n=1)"]


def test_csv_has_all_digits(runs):
    table = compare(aggregate(runs))
    again = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    means = table["accuracy_mean"].tolist()
    assert [row["accuracy_mean"] for row in again] == [repr(x) if x == x else "" for x in means]
    assert [row["best"] for row in again] == [*["False"] * 6, "True"]
    wide = pd.read_csv(io.StringIO(render(table, "csv", "wide")))
    assert wide["best"].tolist()[-1] == "lpss" and wide["dense_n"].tolist()[1:] == [2, 2]
    assert wide["rigl_difference"][0] == pytest.approx(0.15)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_latex_is_a_well_formed_table(runs, layout):
    table = compare(aggregate(runs))
    text = render(table.assign(model="wrn_22|2" + table["method"]), "latex", layout)
    spec = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text).group(1)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.split(r"(?<!\\)&", line)) for line in body} == {len(spec)}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for word in ("toprule", "midrule", "bottomrule", "addlinespace", "end{tabular}", "end{table}"):
        assert f"\\{word}" in text
    assert r"wrn\_22\textbar{}2" in text and text.isascii()


def test_latex_marks_the_best(runs):
    text = render(aggregate(runs), "latex")
    assert r".9900 (n=1, s=.867)\,$^{2}$ & \textbf{.9450 $\pm$ .0071} (n=2, s=.893) \\" in text


@pytest.mark.parametrize(("format", "layout"), EVERY)
def test_same_bytes_from_folders_and_from_results_csv(tmp_path, runs, format, layout):
    to_results_csv(runs, tmp_path / "results.csv")
    first = render(compare(aggregate(runs)), format, layout)
    assert render(compare(aggregate(collect(tmp_path / "results.csv"))), format, layout) == first
    assert first.endswith("\n") and "\r" not in first and "nan" not in first.lower()


def test_unknown_format_and_layout(runs):
    with pytest.raises(UsageError, match="markdown, csv, latex"):
        render(aggregate(runs), "html")
    with pytest.raises(UsageError, match="long, wide"):
        render(aggregate(runs), layout="tall")
