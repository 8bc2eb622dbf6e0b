import numpy as np
import pytest
import torch

from lpss.errors import UsageError
from lpss.sparse.select import below_row_mean
from lpss.theory import largest_p, natural_sparsity, shortfall

# d = 288, zeta_w = .2, Gaussian inputs (maths.md, section 5): p -> dropped once, until nothing is left to drop
SPEC = {1.05: (0.967, 0.991), 1.1: (0.894, 0.976), 1.2: (0.703, 0.873), 1.5: (0.345, 0.439), 2.0: (0.128, 0.147)}


@pytest.mark.parametrize("p", SPEC)
def test_the_specs_table(p):
    once, until_done = SPEC[p]
    assert natural_sparsity(288, p, 0.2, once=True) == pytest.approx(once, abs=0.004)
    assert natural_sparsity(288, p, 0.2) == pytest.approx(until_done, abs=0.004)


@pytest.mark.parametrize("p, zeta_w, alpha", [(1.2, 0.2, None), (1.5, 0.5, None), (1.1, 0.2, 1.5), (2.0, 1.0, 3.0)])
def test_against_the_rule_that_training_uses(p, zeta_w, alpha):
    rng = np.random.default_rng(5)
    if alpha is None:
        w = np.abs(rng.standard_normal((2000, 64))) ** (1 / (p - 1))
    else:
        w = np.sqrt(rng.gamma(alpha * (p - 1) / 2, size=(2000, 64)))
    w = torch.from_numpy(w)
    active, shares = torch.ones_like(w, dtype=torch.bool), []
    while (dropped := below_row_mean(w * active, active, zeta_w)).any():
        active &= ~dropped
        shares.append(1 - active.double().mean().item())
    assert len(shares) > 1
    assert natural_sparsity(64, p, zeta_w, alpha, once=True) == pytest.approx(shares[0], abs=0.006)
    assert natural_sparsity(64, p, zeta_w, alpha) == pytest.approx(shares[-1], abs=0.006)


def test_one_pass_at_p_2_and_many_weights_in_closed_form():
    """There w itself is normal, with mean magnitude sqrt(2 / pi)."""
    from scipy.special import erf

    assert natural_sparsity(10_000, 2.0, 0.5, once=True) == pytest.approx(erf(0.5 / np.sqrt(np.pi)), abs=2e-3)
    assert natural_sparsity(288, 2.0, 0.5, alpha=1.0) == pytest.approx(natural_sparsity(288, 2.0, 0.5), abs=3e-3)


def test_directions_and_extremes():
    by_p = [natural_sparsity(72, p, 0.2) for p in (1.001, 1.03, 1.1, 1.3, 2.0, 10.0)]
    assert by_p == sorted(by_p, reverse=True) and by_p[0] == pytest.approx(1 - 1 / 72, abs=1e-3)
    by_d = [natural_sparsity(d, 1.07, 0.2) for d in (9, 27, 288, 1152)]
    assert by_d == sorted(by_d)
    assert natural_sparsity(2, 1.2, 1e-12) < 0.01 < natural_sparsity(2, 1.2, 1.0) <= 0.5
    assert natural_sparsity(72, 1.0 + 1e-6, 0.2, alpha=1e-3) == pytest.approx(1 - 1 / 72)  # no underflow to 0 / 0


@pytest.mark.parametrize(
    "sparsity, d, zeta_w, alpha", [(0.9, 288, 0.2, None), (0.5, 27, 0.5, None), (0.8, 72, 0.2, 1.5)]
)
def test_the_largest_p_reaches_it_and_larger_ones_do_not(sparsity, d, zeta_w, alpha):
    p = largest_p(sparsity, d, zeta_w, alpha)
    assert natural_sparsity(d, p, zeta_w, alpha) == pytest.approx(sparsity, abs=0.003)
    assert natural_sparsity(d, 1 + (p - 1) * 0.9, zeta_w, alpha) > sparsity
    assert natural_sparsity(d, 1 + (p - 1) * 1.1, zeta_w, alpha) < sparsity


def test_what_no_p_or_every_p_reaches():
    assert largest_p(0.95, 9, 0.2) is None  # of nine weights one stays
    assert largest_p(0.2, 288, 1.0) == np.inf


def test_shortfall_says_what_is_reached_and_which_p_would_do():
    layers = [(288, 9000, 1.5), (27, 500, 1.5), (64, 640, None), (1, 10, 1.5)]
    line = shortfall(layers, 0.9, 0.2)
    assert "sparsity 0.9" in line and "zeta_w=0.2" in line and "p of at most 1.18 does at fan-in 288" in line
    expected = (9000 * natural_sparsity(288, 1.5, 0.2) + 500 * natural_sparsity(27, 1.5, 0.2)) / 10_140
    expected += 640 * natural_sparsity(64, 2.0, 0.2) / 10_140
    assert f"about {expected:.2f} by itself" in line
    assert shortfall([(288, 9000, 1.1)], 0.9, 0.2) is None
    assert shortfall([], 0.9, 0.2) is None and shortfall(layers, 0.0, 0.2) is None
    assert "no p reaches it" in shortfall([(9, 90, 1.05)], 0.95, 0.2)


@pytest.mark.parametrize(
    "arguments, named",
    [
        ((1, 1.2, 0.2), "d must"),
        (([9, 25], 1.2, 0.2), "single numbers"),
        ((9, 1.0, 0.2), "p must"),
        ((9, 1.2, 0.0), r"zeta_w must be in \(0, 1\], got 0"),
        ((9, 1.2, 1.1), "zeta_w must"),
        ((9, 1.2, 0.2, -1.0), "alpha must"),
    ],
)
def test_wrong_values_are_named(arguments, named):
    with pytest.raises(UsageError, match=named):
        natural_sparsity(*arguments)


def test_a_requested_sparsity_out_of_range_is_named():
    with pytest.raises(UsageError, match=r"sparsity must be in \(0, 1\), got 1"):
        largest_p(1.0, 9, 0.2)
    with pytest.raises(UsageError, match="sparsity must"):
        shortfall([(9, 90, 1.2)], 1.0, 0.2)
