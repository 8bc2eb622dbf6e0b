"""Claims are decided by numbers: where the numbers turn, the verdict does."""

import pytest

from lpss.paper.claims import claims, claims_table, noise_toy


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
