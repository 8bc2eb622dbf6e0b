import re

import pytest

from lpss.errors import UsageError
from lpss.report.flops_figure import flops_figure
from lpss.report.tables import aggregate


def texts(path):
    """What an svg says: matplotlib notes each text before its outlines."""
    return [text.strip() for text in re.findall(r"<!--(.*?)-->", path.read_text())]


def test_a_panel_for_each_data_set_and_sparsity_names_its_methods(tmp_path, sweep):
    flops_figure(aggregate(sweep), tmp_path / "a.svg")
    said = texts(tmp_path / "a.svg")
    panels = {(row["dataset"], row["sparsity"]) for _, row in sweep[sweep["method"] != "dense"].iterrows()}
    assert sum(", sparsity ." in text for text in said) == len(panels)
    assert said.count("LpSS") == said.count("RigL") == len(panels)
    assert {"training FLOPs, dense = 1", "accuracy, %", "sparse throughout", "dense at first"} <= set(said)


def test_a_collapsed_method_stands_at_the_foot_and_leaves_room_for_the_others(tmp_path, sweep):
    sweep["accuracy_last"] = 0.9
    sweep.loc[sweep["method"] == "rigl", "accuracy_last"] = 0.3
    flops_figure(aggregate(sweep), tmp_path / "a.svg")
    said = texts(tmp_path / "a.svg")
    assert "RigL 30.0" in said and "RigL" not in said and "LpSS" in said
    ticks = [float(text) for text in said if re.fullmatch(r"\d\d\.?\d*", text)]
    assert ticks and min(ticks) > 80


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_the_same_runs_give_the_same_bytes(tmp_path, sweep, name):
    flops_figure(aggregate(sweep), tmp_path / name)
    first = (tmp_path / name).read_bytes()
    flops_figure(aggregate(sweep.sample(frac=1, random_state=0)), tmp_path / name)
    assert len(first) > 5000 and (tmp_path / name).read_bytes() == first


def test_errors_are_explained(tmp_path, sweep):
    with pytest.raises(UsageError, match=".png, .pdf, .svg"):
        flops_figure(aggregate(sweep), tmp_path / "a.txt")
    with pytest.raises(UsageError, match="no finished run of a sparse method"):
        flops_figure(aggregate(sweep).query("method == 'dense'"), tmp_path / "a.png")
