import re

import pytest
from matplotlib.image import imread

from lpss.errors import LpssError, UsageError
from lpss.report.rank_figure import rank_figure


def test_a_panel_for_each_sparsity_and_one_over_all(tmp_path, sweep):
    rank_figure(sweep, tmp_path / "all.png")
    rank_figure(sweep[sweep["sparsity"] == 0.9], tmp_path / "one.png")
    three, one = imread(tmp_path / "all.png"), imread(tmp_path / "one.png")
    assert three.shape[0] > 1.5 * one.shape[0] and three.shape[1] > 1.8 * one.shape[1]
    height, width = (length // 2 for length in three.shape[:2])
    ink = three[..., :3].min(-1) < 0.5
    panels = [ink[:height, :width], ink[:height, width:], ink[height:, :width]]
    assert all(panel.sum() > 1500 for panel in panels) and ink[height:-60, width + 40 :].sum() == 0


def texts(path):
    """What an svg says: matplotlib notes each text before its outlines."""
    return [text.strip() for text in re.findall(r"<!--(.*?)-->", path.read_text())]


def test_it_says_who_where_and_how_sure(tmp_path, sweep):
    rank_figure(sweep, tmp_path / "a.svg")
    said = texts(tmp_path / "a.svg")
    assert said.count("LpSS  1.00") == said.count("RigL  2.00") == said.count("3.00  SET") == 3
    assert "Sparsity .5: 3 blocks, Friedman p = .050" in said and "All sparsities: 6 blocks, Friedman p = .002" in said
    # 2.343 * sqrt(3 * 4 / (6 * 3)) and * sqrt(3 * 4 / (6 * 6))
    assert said.count("CD = 1.91") == 2 and said.count("CD = 1.35") == 1


def test_a_critical_difference_beyond_the_axis(tmp_path, sweep):
    rank_figure(sweep[(sweep["dataset"] == "dna") & (sweep["sparsity"] == 0.9)], tmp_path / "a.svg")
    said = texts(tmp_path / "a.svg")
    assert "CD = 3.31, longer than the axis" in said and "Sparsity .9: 1 block" in said


@pytest.mark.parametrize("name", ["a.png", "a.svg", "sub/a.pdf"])
def test_the_same_runs_give_the_same_bytes(tmp_path, sweep, name):
    rank_figure(sweep, tmp_path / "1" / name)
    rank_figure(sweep.sample(frac=1, random_state=0), tmp_path / "2" / name)
    first = (tmp_path / "1" / name).read_bytes()
    assert len(first) > 5000 and (tmp_path / "2" / name).read_bytes() == first


def test_errors_are_explained(tmp_path, sweep):
    with pytest.raises(UsageError, match=".png, .pdf, .svg"):
        rank_figure(sweep, tmp_path / "a.jpeg")
    with pytest.raises(UsageError, match="two sparse methods"):
        rank_figure(sweep[sweep["method"] == "set"], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(LpssError, match="could not be written"):
        rank_figure(sweep, tmp_path / "file/a.png")
