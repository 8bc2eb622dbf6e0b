import csv

import pytest

from lpss.errors import LpssError, UsageError
from lpss.report.collect import collect, to_results_csv
from lpss.report.comparison import paired
from lpss.report.comparison_report import p_value, write_comparison


@pytest.fixture
def runs(tmp_path, write_seeds):
    write_seeds([0.94, 0.96], method="dense", dataset="letter", sparsity=None, sparsity_weights=0)
    write_seeds([0.91, 0.93, 0.95], method="lpss", dataset="letter")
    write_seeds([0.90, 0.91, 0.92], method="rigl", dataset="letter")
    write_seeds([0.8, 0.8], method="set", dataset="letter")
    write_seeds([0.99, 0.99], method="lpss", dataset="letter", sparsity=0.5, sparsity_weights=0.6)
    write_seeds([0.91, 0.90], method="rigl", dataset="letter", sparsity=0.5, sparsity_weights=0.5)
    write_seeds([0.80, 0.81], method="set", dataset="letter", sparsity=0.5, sparsity_weights=0.5)
    return collect(tmp_path / "outputs")


def cells(section):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]


def test_markdown(tmp_path, runs):
    write_comparison(runs, tmp_path / "sub/paired.md")
    text = (tmp_path / "sub/paired.md").read_text()
    differences, ranks = text.split("\n## Average ranks\n")
    assert differences.startswith("## LpSS and the best other sparse method\n\n| Data set | Sparsity |")
    head = "Data set,Sparsity,LpSS,Best other,n,Difference,95 % interval,p,Dense,Published"
    assert cells(differences)[0] == head.split(",")
    assert cells(differences)[2:] == [
        "Letter,.5,(.9900) [1],RigL .9050,2,+8.50,+2.15 to +14.85,.037,.9500 (+4.00),.4546 (+53.54)".split(","),
        "Letter,.9,.9300,RigL .9100,3,+2.00,-0.48 to +4.48,.074,.9500 (-2.00),.2328 (+69.72)".split(","),
    ]
    assert "Rows that count: 1 of 2; ahead in 1 (0 with p < .05), behind in 0 (0)." in differences
    assert "- [1] LpSS: reached sparsity .600, not .500\n" in differences
    assert cells(ranks)[0] == "Sparsity,Blocks,Data sets,RigL,LpSS,SET,Friedman p,CD".split(",")
    assert [row[:6] for row in cells(ranks)[2:]] == [
        [".5", "1", "1", "**1.00**", "3.00", "2.00"],
        [".9", "1", "1", "2.00", "**1.00**", "3.00"],
        ["all", "2", "1", "**1.50**", "2.00", "2.50"],
    ]
    assert "has several blocks makes them dependent" in ranks and "Left out" not in ranks


def test_what_was_left_out_is_said(tmp_path, runs):
    write_comparison(runs[(runs["sparsity"] != 0.5) | (runs["method"] != "set")], tmp_path / "a.md")
    assert "Left out, as not complete: SET (in 1 of 2 blocks)." in (tmp_path / "a.md").read_text()


def test_csv_has_all_digits(tmp_path, runs):
    write_comparison(runs, tmp_path / "paired.csv")
    table, again = paired(runs), list(csv.DictReader(open(tmp_path / "paired.csv")))
    assert list(again[0]) == list(table)
    assert [row["p"] for row in again] == [repr(p) for p in table["p"].tolist()]
    assert [row["counts"] for row in again] == ["False", "True"]


@pytest.mark.parametrize("name", ["a.md", "a.csv"])
def test_same_bytes_from_folders_and_from_results_csv(tmp_path, runs, name):
    to_results_csv(runs, tmp_path / "results.csv")
    write_comparison(runs, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    write_comparison(collect(tmp_path / "results.csv"), tmp_path / name)
    assert (tmp_path / name).read_bytes() == first and b"nan" not in first.lower() and first.endswith(b"\n")


def test_p_values():
    assert [p_value(p) for p in (0.0004, 0.0312, 1.0, float("nan"))] == ["< .001", ".031", "1.000", "-"]
    assert [p_value(p, "= ") for p in (0.0004, 0.0312)] == ["< .001", "= .031"]


def test_errors_are_explained(tmp_path, runs):
    with pytest.raises(UsageError, match="a.txt: use a name that ends in .md or .csv"):
        write_comparison(runs, tmp_path / "a.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(LpssError, match="could not be written"):
        write_comparison(runs, tmp_path / "file/a.md")
