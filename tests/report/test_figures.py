import pytest
from matplotlib.image import imread

from lpss.errors import LpssError, UsageError
from lpss.report.collect import collect, layers_of
from lpss.report.figures import _columns, accuracy_figure


def layer_rows(sparsity):
    return [
        [name, "linear", "(8, 8)", 1.1, 64, 1 - sparsity, 1 - sparsity - d, sparsity + d, 0.5]
        for name, d in (("fc1", 0.02), ("fc2", -0.02))
    ]


@pytest.fixture
def runs(tmp_path, write_run):
    write_run(method="dense", sparsity=None, layers=layer_rows(0.0), accuracy_last=0.97)
    for method in ("set", "lpss"):
        for sparsity in (0.5, 0.9):
            for seed in (0, 1):
                write_run(
                    method=method,
                    sparsity=sparsity,
                    seed=seed,
                    layers=layer_rows(sparsity),
                    accuracy_last=0.96 - 0.05 * sparsity + 0.01 * seed,
                )
    write_run(method="snip", status="diverged", accuracy_last=None)
    return collect(tmp_path / "outputs")


def test_figure_is_drawn_and_repeatable(tmp_path, runs):
    accuracy_figure(runs, tmp_path / "a.png", layers_of(runs))
    accuracy_figure(runs, tmp_path / "b.png", layers_of(runs))
    picture = imread(tmp_path / "a.png")
    height, width = picture.shape[:2]
    assert width > 1000 and height > 400 and picture[..., :3].std() > 0.02
    # Both halves carry colour, not only axes.
    for half in (picture[:, : width // 2], picture[:, width // 2 :]):
        assert (half[..., :3].max(-1) - half[..., :3].min(-1) > 0.3).sum() > 500
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["a.pdf", "sub/a.svg"])
def test_other_formats_without_layers(tmp_path, runs, name):
    accuracy_figure(runs[runs["sparsity"] != 0.5], tmp_path / name)
    assert (tmp_path / name).stat().st_size > 5000


def test_only_dense(tmp_path, runs):
    accuracy_figure(runs[runs["method"] == "dense"], tmp_path / "a.png", layers_of(runs))
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_a_row_for_each_data_set(tmp_path, write_run, runs):
    write_run(dataset="adult")
    accuracy_figure(runs, tmp_path / "one.png")
    accuracy_figure(collect(tmp_path / "outputs"), tmp_path / "two.png")
    assert imread(tmp_path / "two.png").shape[0] > 1.5 * imread(tmp_path / "one.png").shape[0]


def test_the_legend_fits():
    assert _columns(["Dense", "SET", "LpSS"]) == 3
    assert _columns(["LpSS, optimizer.p=1.1"] * 6) == 3
    assert _columns(["a setting " * 30] * 2) == 1


def test_errors_are_explained(tmp_path, runs):
    with pytest.raises(UsageError, match=".png, .pdf, .svg"):
        accuracy_figure(runs, tmp_path / "a.jpeg")
    with pytest.raises(UsageError, match="no finished run"):
        accuracy_figure(runs[runs["status"] == "diverged"], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(LpssError, match="could not be written"):
        accuracy_figure(runs, tmp_path / "file/a.png")
