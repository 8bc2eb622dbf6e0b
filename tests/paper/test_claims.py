"""Claims are decided by numbers: where the numbers turn, the verdict does."""

import pandas as pd
import pytest

from lpss.paper.claims import claims, claims_table, noise_toy


@pytest.fixture(autouse=True)
def no_toy(monkeypatch):
    """The toy of one claim takes seconds; its own test calls it."""
    monkeypatch.setattr("lpss.paper.claims.noise_toy", lambda: (0.5, 0.4, 0.49))


def verdicts(tables, part):
    return [claim.holds for claim in claims(tables) if part in claim.text]


BENDS = {  # part of a claim -> (figure, what makes it false)
    "more weights are close to zero": ("fig2", lambda t: t.assign(p=-t["p"])),
    "wider-ranged": (
        "fig3",
        lambda t: t.assign(optimizer=t["optimizer"].map({"lpsgd": "lpsgd_m", "lpsgd_m": "lpsgd"})),
    ),
    "similar test accuracy": (
        "fig3",
        lambda t: t.assign(test_accuracy=t["test_accuracy"] - 0.2 * (t["optimizer"] == "lpsgd")),
    ),
    "falls as p grows": ("fig5", lambda t: t.assign(hoyer_sparsity=1 - t["hoyer_sparsity"])),
    "predicts conv layers precisely": ("fig5", lambda t: t.assign(own_rms=0.06 - t["own_rms"])),
    "more correlated": ("fig7", lambda t: t.assign(kind=t["kind"].map({"conv": "linear", "linear": "conv"}))),
    "better than dense": (
        "fig8",
        lambda t: t.assign(accuracy_last=t["accuracy_last"] - 0.5 * (t["method"] == "lpss")),
    ),
    "falls slightly": ("fig8", lambda t: t.assign(accuracy_last=0.2 + t["sparsity"] / 2)),
    "well ahead": ("fig9", lambda t: t.assign(accuracy_last=t["accuracy_last"] - 0.5 * (t["method"] == "lpss"))),
    "largest sparsity LpSS reaches": ("fig10", lambda t: t.assign(sparsity_weights=1 - t["sparsity_weights"])),
    "Accuracy at the largest": ("fig10", lambda t: t.assign(accuracy_last=1 - t["accuracy_last"])),
}


@pytest.mark.parametrize("part", BENDS)
def test_a_claim_holds_where_the_numbers_obey_it_and_not_where_they_do_not(tables, part):
    figure, bend = BENDS[part]
    assert set(verdicts({figure: tables[figure]}, part)) == {"yes"}
    assert set(verdicts({figure: bend(tables[figure])}, part)) == {"no"}


def test_a_comparison_with_one_seed_says_so(tables):
    one = tables["fig9"][tables["fig9"]["seed"] == 0]
    (claim,) = (claim for claim in claims({"fig9": one}) if "well ahead" in claim.text)
    assert "1 seed, 6 epochs, compared with RigL alone" in claim.where
    assert "**yes**, in this one comparison" in claims_table({"fig9": one})
    assert "in this one comparison" not in claims_table(tables)


def test_raw_correlation_without_more_than_chance_is_a_claim_in_part(tables):
    inner = tables["fig7"]["kind"].eq("linear") & tables["fig7"]["number"].lt(6)
    same = tables["fig7"].assign(by_chance=tables["fig7"]["by_chance"].where(~inner, 0.99))
    assert verdicts({"fig7": same}, "more correlated") == ["in part"]


def test_noise_biases_the_average_of_a_power_and_no_other():
    exact, plain, momentum = noise_toy()
    assert exact - plain > 0.05 and abs(momentum - exact) < 0.002
    exact, plain, momentum = noise_toy(p=2.0, steps=300, problems=16)
    assert plain == pytest.approx(momentum, abs=1e-6)  # there is no power to average


def test_the_table_has_a_line_a_claim_and_leaves_out_what_no_figure_shows(tables):
    text = claims_table(tables)
    assert len(text.splitlines()) == 2 + len(list(claims(tables)))
    assert all(line.count("|") == 5 for line in text.splitlines())
    assert len(claims_table({"fig2": tables["fig2"]}).splitlines()) == 2 + 1


# --- where a verdict turns --------------------------------------------------------------------------------------

# Ten places in order, but for these exchanges: Spearman's rank correlation on both sides of .95 and of .7.
EXCHANGES = {
    0.9515: [(0, 1), (2, 3), (4, 5), (6, 7)],
    0.9394: [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)],
    0.7091: [(0, 4), (1, 3), (5, 7)],
    0.6970: [(0, 4), (1, 3), (5, 7), (8, 9)],
}
TURNS = {0.9515: "yes", 0.9394: "in part", 0.7091: "in part", 0.6970: "no"}


def ranks(rho):
    order = list(range(10))
    for i, j in EXCHANGES[rho]:
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize("rho", EXCHANGES)
def test_small_weights_from_which_rank_correlation(tables, rho):
    row = tables["fig2"].iloc[0].to_dict()
    shares = [  # of 21 weights, as many are small as the rank says
        {**row, "p": 2 - place / 10, "weight": 1.0 if i == 0 else 0.01 if i <= rank else 0.5}
        for place, rank in enumerate(ranks(rho))
        for i in range(21)
    ]
    assert verdicts({"fig2": pd.DataFrame(shares)}, "more weights are close to zero") == [TURNS[rho]]
    (claim,) = claims({"fig2": pd.DataFrame(shares)})
    assert f"rank correlation {-rho:.2f}" in claim.numbers


@pytest.mark.parametrize(
    "first, second, holds", [(0.9515, 0.9515, "yes"), (0.9515, 0.9394, "in part"), (0.9394, 0.9394, "no")]
)
def test_falling_sparsity_from_which_rank_correlation_in_every_layer(tables, first, second, holds):
    row = tables["fig5"].iloc[0].to_dict()
    layers = [
        {**row, "number": number, "kind": kind, "p": 2 - place / 10, "hoyer_sparsity": rank / 10}
        for number, kind, rho in ((1, "conv", first), (2, "linear", second))
        for place, rank in enumerate(ranks(rho))
    ]
    assert verdicts({"fig5": pd.DataFrame(layers)}, "falls as p grows") == [holds]


@pytest.mark.parametrize("rho", EXCHANGES)
@pytest.mark.parametrize(
    "column, part",
    [("sparsity_weights", "largest sparsity LpSS reaches"), ("accuracy_last", "Accuracy at the largest")],
)
def test_growth_with_scale_from_which_rank_correlation(tables, column, part, rho):
    row = tables["fig10"].iloc[0].to_dict()
    sizes = [{**row, "parameters": 1000 * (place + 1), column: rank / 10} for place, rank in enumerate(ranks(rho))]
    assert verdicts({"fig10": pd.DataFrame(sizes)}, part) == [TURNS[rho]]


def both_optimizers(row, cells):
    """fig3's last epoch: (p, LpSGD's value, LpSGD-m's value) of a column."""
    return pd.DataFrame(
        {**row, "p": p, "optimizer": optimizer, **values}
        for p, *pair in cells
        for optimizer, values in zip(("lpsgd", "lpsgd_m"), pair, strict=True)
    )


@pytest.mark.parametrize(
    "cells, holds",
    [
        ([(1.1, 0.5, 0.9), (1.9, 0.2, 0.21), (2.0, 0.1, 0.09)], "yes"),  # from p = 2 on it need not be higher
        ([(1.1, 0.5, 0.9), (1.9, 0.2, 0.20), (2.0, 0.1, 0.09)], "in part"),
        ([(1.1, 0.5, 0.9), (1.9, 0.2, 0.7)], "no"),  # a narrower range
        ([(1.1, 0.5, 0.75), (1.5, 0.25, 0.5)], "no"),  # the same range
        ([(1.1, 0.5, 0.5), (1.9, 0.2, 0.1)], "no"),  # wider, and higher nowhere
    ],
)
def test_higher_and_wider_sparsity_of_lpsgd_m(tables, cells, holds):
    cells = [(p, {"hoyer_sparsity": a}, {"hoyer_sparsity": b}) for p, a, b in cells]
    table = both_optimizers(tables["fig3"].iloc[0].to_dict(), cells)
    assert verdicts({"fig3": table}, "wider-ranged") == [holds]


@pytest.mark.parametrize("difference, holds", [(0.0099, "yes"), (-0.0099, "yes"), (0.0101, "no"), (-0.0101, "no")])
def test_similar_accuracy_is_less_than_a_point_at_every_p(tables, difference, holds):
    cells = [(p, {"test_accuracy": 0.9}, {"test_accuracy": 0.9 + d}) for p, d in ((1.1, 0.0), (1.5, difference))]
    table = both_optimizers(tables["fig3"].iloc[0].to_dict(), cells)
    assert verdicts({"fig3": table}, "similar test accuracy") == [holds]


@pytest.mark.parametrize(
    "plain, momentum, holds",
    [
        (0.4, 0.476, "yes"),
        (0.4, 0.474, "in part"),
        (0.4, 0.401, "in part"),
        (0.4, 0.399, "no"),
        (0.6, 0.476, "yes"),
        (0.6, 0.526, "in part"),
    ],
)
def test_noise_biases_one_optimizer_four_times_as_much(tables, monkeypatch, plain, momentum, holds):
    """Without noise the sparsity is .5."""
    monkeypatch.setattr("lpss.paper.claims.noise_toy", lambda: (0.5, plain, momentum))
    assert verdicts({"fig3": tables["fig3"]}, "Gradient noise") == [holds]


@pytest.mark.parametrize(
    "conv, linear, holds",
    [
        ((0.010, 0.020), (0.021, 0.050), "yes"),
        ((0.010, 0.020), (0.020, 0.050), "in part"),  # its worst layer is no better than the other kind's best
        ((0.010, 0.030), (0.020, 0.021), "in part"),
        ((0.010, 0.030), (0.019, 0.020), "no"),
    ],
)
def test_theory_fits_conv_layers_better(tables, conv, linear, holds):
    row = tables["fig5"].iloc[0].to_dict()
    errors = [("conv", rms) for rms in conv] + [("linear", rms) for rms in linear]
    table = pd.DataFrame({**row, "number": i, "kind": kind, "own_rms": rms} for i, (kind, rms) in enumerate(errors, 1))
    assert verdicts({"fig5": table}, "predicts conv layers precisely") == [holds]


@pytest.mark.parametrize(
    "linear, chance_of_linear, holds",
    [(0.21, 0.10, "yes"), (0.21, 0.11, "in part"), (0.19, 0.09, "in part"), (0.19, 0.10, "no"), (0.20, 0.10, "no")],
)
def test_correlation_is_compared_raw_and_beside_chance(tables, linear, chance_of_linear, holds):
    """Conv layers: .2, twice what chance gives. The last layer, whatever it is, does not count."""
    row = tables["fig7"].iloc[0].to_dict()
    layers = [("conv", 0.2, 0.1), ("linear", linear, chance_of_linear), ("linear", 0.9, 0.1)]
    table = pd.DataFrame(
        {**row, "number": number, "kind": kind, "mean_abs": mean, "by_chance": by_chance}
        for number, (kind, mean, by_chance) in enumerate(layers, 1)
    )
    assert verdicts({"fig7": table}, "more correlated") == [holds]


def accuracies(row, cells):
    """A row a seed: (method, sparsity) -> accuracies in percent."""
    return pd.DataFrame(
        {
            **row,
            "method": method,
            "sparsity": sparsity,
            "sparsity_weights": sparsity,
            "seed": seed,
            "accuracy_last": value / 100,
        }
        for (method, sparsity), values in cells.items()
        for seed, value in enumerate(values)
    )


@pytest.mark.parametrize("gain, holds", [(1.02, "yes"), (0.98, "in part"), (0.02, "in part"), (-0.02, "no")])
@pytest.mark.parametrize("noisy", ["dense", "lpss"])
def test_better_than_dense_is_by_more_than_the_larger_standard_deviation(tables, noisy, gain, holds):
    """The noisy one's accuracies have a standard deviation of 1 point, the other's of .1."""
    spread = {name: [-1.0, 0.0, 1.0] if name == noisy else [-0.1, 0.0, 0.1] for name in ("dense", "lpss")}
    cells = {("dense", 0.0): [90 + x for x in spread["dense"]], ("lpss", 0.5): [90 + gain + x for x in spread["lpss"]]}
    table = accuracies(tables["fig8"].iloc[0].to_dict(), cells)
    assert verdicts({"fig8": table}, "better than dense") == [holds]


@pytest.mark.parametrize("last, holds", [(90.0, "yes"), (88.02, "yes"), (87.98, "in part"), (90.02, "no")])
def test_a_slight_fall_is_of_less_than_two_points(tables, last, holds):
    cells = {("dense", 0.0): [90.0], ("lpss", 0.5): [90.0], ("lpss", 0.7): [50.0], ("lpss", 0.9): [last]}
    table = accuracies(tables["fig8"].iloc[0].to_dict(), cells)
    assert verdicts({"fig8": table}, "falls slightly") == [holds]


@pytest.mark.parametrize("lpss, holds", [(90.22, "yes"), (90.18, "in part"), (90.02, "in part"), (89.98, "no")])
def test_well_ahead_is_by_two_tenths_of_a_point_of_the_best_other_sparse_method(tables, lpss, holds):
    means = {("dense", 0.0): 99.0, ("rigl", 0.9): 90.0, ("set", 0.9): 80.0, ("lpss", 0.9): lpss}
    means |= {("dense", 0.9): 99.0, ("rigl", 0.5): 95.0, ("lpss", 0.5): 10.0}
    table = accuracies(tables["fig9"].iloc[0].to_dict(), {key: [mean, mean] for key, mean in means.items()})
    assert verdicts({"fig9": table}, "well ahead") == [holds]
