"""Every figure: its table from run folders, its picture from the table alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lpss.cli.compose import compose_sweep
from lpss.errors import LpssError
from lpss.paper import FIGURES, correlation, distribution, layerwise, scale, tradeoff, training
from lpss.paper.common import fan_in, layer_kind, source_line, weights_of
from lpss.report.collect import collect
from lpss.theory import expected_hoyer, natural_sparsity
from lpss.train.run import run


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_from_its_table(tables, tmp_path, name):
    figure = FIGURES[name].plot(tables[name], tmp_path / "one.png")
    FIGURES[name].plot(tables[name], tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    foot = figure.get_supxlabel()
    assert "6 epochs" in foot and "seed" in foot  # says what runs it is made of
    for axes in figure.axes:
        assert not any("$" in label.get_text() for label in axes.get_xticklabels())  # math is not typeset
        assert not axes.lines or axes.get_xlabel() or axes.get_shared_x_axes().get_siblings(axes)[1:]
        assert not axes.lines or axes.get_ylabel() or axes.get_shared_y_axes().get_siblings(axes)[1:]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("short", [True, False])
def test_every_experiment_of_a_figure_is_a_sweep(name, short):
    for experiment in FIGURES[name].experiments(short):
        assert len(compose_sweep(experiment)) > 2


@pytest.fixture
def trained(composed, tmp_path):
    """Runs of two p and two optimizers of a small CNN on made-up images."""
    data = ("dataset=synthetic", "dataset.image_shape=[1,28,28]", "dataset.train_size=64", "dataset.test_size=20")
    for p in (1.1, 1.3):
        for optimizer in ("lpsgd", "lpsgd_m"):
            settings = (f"optimizer={optimizer}", f"optimizer.p={p}", "train.epochs=2", "train.batch_size=16")
            run(composed("experiment=fig3", *data, *settings, f"output={tmp_path}/runs"))
    return collect(tmp_path / "runs")


def test_tables_of_trained_nets(trained):
    history = training.table(trained)
    assert len(history) == 2 * 2 * 2 and set(history["optimizer"]) == {"lpsgd", "lpsgd_m"}
    own = trained[trained["optimizer"] == "lpsgd_m"]
    weights = weights_of(own.iloc[0].to_dict())
    assert [weight.shape for weight in weights.values()] == [
        (8, 9),
        (12, 72),
        (16, 108),
        (256, 400),
        (64, 256),
        (4, 64),
    ]

    p = float(own.iloc[0]["p"])
    shown = distribution.table(own)
    assert np.allclose(shown[shown["p"] == p]["weight"], list(weights.values())[-1][0])

    layers = layerwise.table(own)
    assert list(layers["d"].unique()) == [9, 72, 108, 400, 256, 64] and len(layers) == 12
    assert list(layers.drop_duplicates("number")["kind"]) == ["conv"] * 3 + ["linear"] * 3
    for name in ("own", "shared"):
        theory = expected_hoyer(layers["d"], layers["p"], layers[f"{name}_alpha"])
        assert np.allclose(layers[f"{name}_theory"], theory)
    last = history[(history["optimizer"] == "lpsgd_m") & (history["p"] == p) & (history["epoch"] == 2)]
    neurons = np.array([weight.shape[0] for weight in weights.values()])
    by_layer = layers[layers["p"] == p].sort_values("number")["hoyer_sparsity"]
    assert last["hoyer_sparsity"].item() == pytest.approx((by_layer * neurons).sum() / neurons.sum())

    pairs = correlation.table(own)
    second = pairs[(pairs["number"] == 2) & (pairs["p"] == p)]
    assert len(second) == 12 * 12
    matrix = np.corrcoef(weights["features.2"])
    assert np.allclose(second.pivot(index="i", columns="j", values="correlation"), matrix)
    assert second["mean_abs"].iloc[0] == pytest.approx(np.abs(matrix[np.triu_indices(12, 1)]).mean())


def test_sparse_runs_and_scale(composed, tmp_path):
    for width in (16, 32):
        settings = ("dataset=synthetic", "method.exact_finish=false", "optimizer.p=1.1", "train.max_steps=3")
        run(composed(*settings, f"model.hidden=[{width}]", "sparsity=0.9", f"output={tmp_path}/runs"))
    runs = collect(tmp_path / "runs")
    found = scale.table(runs)
    assert list(found["parameters"]) == sorted(runs["parameters"])
    config = json.loads(runs.iloc[0]["config"])
    layers = pd.read_csv(f"{runs.iloc[0]['folder']}/layers.csv")
    assert list(layers["p"].fillna(0)) == [1.1, 0]  # the head is off the sphere
    own = [
        natural_sparsity(fan_in(s), p, config["method"]["zeta_w"])
        for s, p in zip(layers["shape"], (1.1, 2.0), strict=True)
    ]
    expected = (own * layers["weights"]).sum() / layers["weights"].sum()
    assert expected in found["predicted"].to_list()
    points = tradeoff.table(runs)
    assert list(points["sparsity_weights"]) == list(runs["sparsity_weights"]) and set(points["lr"]) == {0.02}


def test_correlation_by_chance_is_that_of_independent_weights():
    rng = np.random.default_rng(0)
    for d in (5, 9, 72):
        drawn = np.abs(correlation.correlations(rng.standard_normal((400, d))))
        assert correlation.mean_off_diagonal(drawn) == pytest.approx(correlation.chance(d), rel=0.02)
    assert np.isnan(correlation.mean_off_diagonal(np.ones((1, 1))))
    assert correlation.correlations(np.ones((2, 3))).tolist() == [[0, 0], [0, 0]]  # constant rows have none


def test_shapes():
    assert [layer_kind("8x1x3x3"), fan_in("8x1x3x3"), layer_kind("10x64"), fan_in("10x64")] == ["conv", 9, "linear", 64]


def test_what_runs_are_missing_is_said(trained):
    first = trained.iloc[0]
    (Path(first["folder"]) / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(LpssError, match="remove the folder to train this run again"):
        weights_of(first.to_dict())
    (Path(first["folder"]) / "metrics.csv").unlink()
    with pytest.raises(LpssError, match="metrics.csv.*remove its folder"):
        training.table(trained)


def test_the_source_line_counts_epochs_and_seeds(tables):
    assert source_line(tables["fig10"]) == "fig: MNIST, cnn_mnist, 6 epochs, 2 seeds"
    assert source_line(tables["fig2"].assign(epochs=1)) == "fig: MNIST, cnn_mnist, 1 epoch, 1 seed"
