import pytest

from lpss.errors import UsageError
from lpss.report.names import DATASETS, METHODS
from lpss.report.published import published


def test_the_paper_has_176_cells_under_our_names():
    paper = published("paper")
    assert list(paper) == ["dataset", "model", "sparsity", "method", "accuracy", "source"] and len(paper) == 176
    assert paper.groupby("dataset").size().eq(16).all() and paper["dataset"].nunique() == 11
    assert set(paper["dataset"]) <= set(DATASETS) and set(paper["method"]) <= set(METHODS)
    cells = paper.set_index(["dataset", "sparsity", "method"])["accuracy"]
    assert cells["cifar10", 0.9, "lpss"] == 0.9310 and cells["letter", 0.0, "dense"] == 0.9218
    assert cells.index.is_unique
    images = {"mnist", "fashion_mnist", "cifar10", "tiny_imagenet"}
    assert set(paper[paper["model"] == "wrn"]["dataset"]) == images
    assert set(paper[paper["model"] == "mlp"]["dataset"]) == set(paper["dataset"]) - images


def test_third_parties_are_kept_apart():
    erk = published("rigl-authors-erk").set_index(["method", "sparsity"])["accuracy"]
    assert erk["rigl", 0.95] == 0.918
    nets = published().query("source != 'paper'").groupby("source")["model"].unique().str[0]
    assert nets.to_dict() == dict.fromkeys(["chts", "sparse-learning"], "mlp") | dict.fromkeys(
        ["reproduction", "reproduction-erk", "rigl-authors-erk", "rigl-authors-erk-2x"], "wrn"
    )
    lenet = published("sparse-learning").set_index(["method", "sparsity"])["accuracy"]
    assert lenet["snfs", 0.99] == 0.9753 and lenet["dense", 0.0] == 0.9869
    assert not published().duplicated(["dataset", "sparsity", "method", "source"]).any()
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        published("papers")
