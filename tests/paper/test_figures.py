"""Every figure: its table from run folders, its drawing from the table alone."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from lpss.cli.compose import compose_run, compose_sweep
from lpss.errors import LpssError
from lpss.paper import FIGURES, correlation, distribution, layerwise, scale, tradeoff, training
from lpss.paper.common import fan_in, layer_kind, source_line, weights_of
from lpss.report.collect import collect
from lpss.theory import expected_hoyer, expected_hoyer_gaussian, natural_sparsity
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of two p and two optimizers of a small CNN on made-up images."""
    folder = tmp_path_factory.mktemp("trained")
    data = ("dataset=synthetic", "dataset.image_shape=[1,28,28]", "dataset.train_size=64", "dataset.test_size=20")
    for p in (1.1, 1.3):
        for optimizer in ("lpsgd", "lpsgd_m"):
            settings = (f"optimizer={optimizer}", f"optimizer.p={p}", "train.epochs=2", "train.batch_size=16")
            run(compose_run(["experiment=fig3", *data, *settings, f"output={folder}"]))
    return collect(folder)


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


def test_what_runs_are_missing_is_said(trained, tmp_path):
    folder = shutil.copytree(trained.iloc[0]["folder"], tmp_path / "run")
    runs = trained[:1].assign(folder=str(folder))
    (folder / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(LpssError, match="remove the folder to train this run again"):
        weights_of(runs.iloc[0].to_dict())
    (folder / "metrics.csv").unlink()
    with pytest.raises(LpssError, match="metrics.csv.*remove its folder"):
        training.table(runs)


def test_the_source_line_counts_epochs_and_seeds(tables):
    assert source_line(tables["fig10"]) == "fig: MNIST, cnn_mnist, 6 epochs, 2 seeds"
    assert source_line(tables["fig2"].assign(epochs=1)) == "fig: MNIST, cnn_mnist, 1 epoch, 1 seed"


# --- what is drawn is what the table's columns hold -------------------------------------------------------------


def drawn(lines):
    """(x, y) of each line."""
    return [np.array(line.get_data(), dtype=float) for line in lines]


def assert_line(line, x, y):
    np.testing.assert_allclose(line, [np.asarray(x, float), np.asarray(y, float)], rtol=1e-12)


def assert_errorbar(container, x, y, deviation):
    """Its line, and the ends of its bars."""
    line, _, (bars,) = container.lines
    assert_line(drawn([line])[0], x, y)
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends.T, [np.asarray(y) - deviation, np.asarray(y) + deviation], rtol=1e-12)


def test_fig2_shows_the_weights_of_each_p(tables):
    table = tables["fig2"]
    (axes,) = distribution.draw(table).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1.1", "1.5", "3"]
    for place, (line, text, (_, weights)) in enumerate(
        zip(drawn(axes.lines), axes.texts, table.groupby("p")["weight"], strict=True)
    ):
        assert_line(line, line[0], weights)
        assert line[0].min() == pytest.approx(place - 0.28) and line[0].max() == pytest.approx(place + 0.28)
        small = (weights.abs() < 0.1 * weights.abs().max()).mean()
        assert text.get_text() == f"{100 * small:.0f} %" and text.get_position()[0] == place


def test_fig3_shows_mean_accuracies_and_sparsities_by_epoch(tables):
    both = [tables["fig3"], tables["fig3"].assign(seed=1, test_accuracy=0.5, train_accuracy=0.6, hoyer_sparsity=0.3)]
    table = pd.concat(both, ignore_index=True)
    axes = training.draw(table).axes
    for i, (_, panel) in enumerate(table.groupby("p")):
        upper, lower = drawn(axes[i].lines), drawn(axes[i + 3].lines)
        for j, (_, rows) in enumerate(panel.groupby("optimizer")):
            mean = rows.groupby("epoch")[["test_accuracy", "train_accuracy", "hoyer_sparsity"]].mean()
            assert_line(upper[2 * j], mean.index, 100 * mean["test_accuracy"])
            assert_line(upper[2 * j + 1], mean.index, 100 * mean["train_accuracy"])
            assert_line(lower[j], mean.index, mean["hoyer_sparsity"])
            assert [axes[i].lines[2 * j + k].get_linestyle() for k in (0, 1)] == ["-", "--"]
        assert [line.get_label() for line in axes[i].lines[::2]] == ["LpSGD", "LpSGD-m"]


def test_fig5_shows_trained_layers_and_the_theory_of_their_alphas(tables):
    own = tables["fig5"]["number"].map(lambda number: 1 + number / 10)
    table = tables["fig5"].assign(own_alpha=own, shared_alpha=1.7, own_alpha_error=0.03, own_rms=0.007)
    figure = layerwise.draw(table)
    for axes, (_, layer) in zip(figure.axes, table.groupby("number"), strict=True):
        first = layer.iloc[0]
        lines = {line.get_label(): data for line, data in zip(axes.lines, drawn(axes.lines), strict=True)}
        assert_line(lines["trained"], layer["p"], layer["hoyer_sparsity"])
        (fitted, shared, gaussian) = (data for label, data in lines.items() if label != "trained")
        assert_line(fitted, fitted[0], expected_hoyer(first["d"], fitted[0], first["own_alpha"]))
        assert_line(shared, shared[0], expected_hoyer(first["d"], shared[0], 1.7))
        assert_line(gaussian, gaussian[0], expected_hoyer_gaussian(first["d"], gaussian[0]))
        assert axes.texts[0].get_text() == f"alpha {first['own_alpha']:.2f} ± 0.03\nrms 0.007"


def test_fig7_shows_the_correlations_of_each_layer_and_p(tables):
    table = tables["fig7"].assign(correlation=tables["fig7"].index / len(tables["fig7"]))
    axes = correlation.draw(table).axes
    for panel, (_, cell) in zip(axes[:-1], table.groupby(["number", "p"]), strict=True):
        size, first = cell["i"].max() + 1, cell.iloc[0]
        shown = panel.images[0].get_array()
        assert shown.shape == (size, size)
        np.testing.assert_allclose(shown[cell["i"], cell["j"]], cell["correlation"])
        times = first["mean_abs"] / first["by_chance"]
        assert panel.get_xlabel() == f"mean |r| {first['mean_abs']:.3f}, {times:.1f} x chance"


def check_accuracy_against_sparsity(axes, table):
    """The sparsity that was reached, mean accuracy and its deviation; dense as a line across."""
    dense = axes.lines[0]
    assert dense.get_label() == "Dense"
    assert dense.get_ydata()[0] == pytest.approx(100 * table[table["method"] == "dense"]["accuracy_last"].mean())
    sparse = table[table["method"] != "dense"].groupby("method", sort=False)
    assert [container.get_label() for container in axes.containers] == ["RigL", "LpSS"]
    for container, (_, rows) in zip(axes.containers, sparse, strict=True):
        cells = rows.groupby("sparsity")
        accuracy = 100 * cells["accuracy_last"].mean()
        deviation = 100 * cells["accuracy_last"].std(ddof=1)
        assert_errorbar(container, cells["sparsity_weights"].mean(), accuracy, deviation)


def test_fig8_shows_accuracy_against_the_sparsity_that_was_reached(tables):
    table = tables["fig8"].assign(sparsity_weights=0.97 * tables["fig8"]["sparsity"])
    axes = tradeoff.draw(table).axes
    assert [panel.get_title("left") for panel in axes] == ["MNIST", "Fashion-MNIST"]
    for panel, name in zip(axes, ("mnist", "fashion_mnist"), strict=True):
        check_accuracy_against_sparsity(panel, table[table["dataset"] == name])


def test_fig9_shows_accuracy_and_the_learning_rates(tables):
    table = tables["fig9"].assign(sparsity_weights=0.97 * tables["fig9"]["sparsity"])
    left, right = tradeoff.draw_with_schedule(table).axes
    check_accuracy_against_sparsity(left, table)
    assert [line.get_label() for line in right.lines] == ["Dense", "RigL, LpSS"]
    for line, lr in zip(drawn(right.lines), (0.1, 0.02), strict=True):
        np.testing.assert_allclose(line[1], lr * (1 + np.cos(np.pi * line[0])) / 2, atol=1e-12)


def test_fig10_shows_sparsity_reached_and_predicted_and_accuracy_by_parameters(tables):
    table = tables["fig10"]
    table = table.assign(
        sparsity_weights=table["sparsity_weights"] - 0.01 * table["seed"],
        accuracy_last=table["accuracy_last"] - 0.02 * table["seed"],
    )
    left, right = scale.draw(table).axes
    cells = table.groupby("parameters")
    assert left.get_xscale() == right.get_xscale() == "log"
    for axes, column, times in ((left, "sparsity_weights", 1), (right, "accuracy_last", 100)):
        (container,) = axes.containers
        assert_errorbar(
            container, cells[column].mean().index, times * cells[column].mean(), times * cells[column].std(ddof=1)
        )
    (predicted,) = (line for line in left.lines if line.get_linestyle() == ":")
    assert_line(drawn([predicted])[0], cells["predicted"].mean().index, cells["predicted"].mean())
