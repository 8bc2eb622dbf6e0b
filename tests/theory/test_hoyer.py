"""E[H] in closed form and by recursion, against 40-digit values, the paper's own integrals, and samples."""

from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, special

from lpss.errors import UsageError
from lpss.theory import expected_hoyer, expected_hoyer_gaussian, expected_hoyer_recursive

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "spec" / "reference" / "hoyer_expectation.csv"

# d, p, alpha, E[H]: some of the reference's lines, from 40-digit arithmetic
KNOWN = [
    (9, 1.05, 1.0001, 0.879900051427),
    (25, 1.3, 1.0001, 0.507171454310),
    (72, 2.5, 1.0001, 0.163138693844),
    (108, 1.7, 1.0001, 0.286567478671),
    (256, 1.1, 1.0001, 0.666805433756),
]


@pytest.fixture(scope="module")
def reference():
    """Columns d, p, alpha, tau, E[H] of all reference lines."""
    if not REFERENCE.is_file():
        pytest.skip(f"no reference values: {REFERENCE} is not there")
    return np.loadtxt(REFERENCE, delimiter=",", skiprows=1, unpack=True)


def hoyer(w):
    d = w.shape[1]
    ratio = np.abs(w).sum(1) / np.sqrt(np.square(w).sum(1))
    return (np.sqrt(d) - ratio) / (np.sqrt(d) - 1)


def assert_mean_is(value, samples):
    error = samples.std() / np.sqrt(len(samples))
    assert error < 0.002 and abs(samples.mean() - value) < 4 * error


# --- eq (30) ----------------------------------------------------------------------------------------------------


def test_closed_form_against_literal_values():
    d, p, alpha, known = np.array(KNOWN).T
    np.testing.assert_allclose(expected_hoyer(d, p, alpha), known, rtol=0, atol=2e-11)


def test_closed_form_against_every_reference_value(reference):
    d, p, alpha, _, known = reference
    assert len(d) == 320
    np.testing.assert_allclose(expected_hoyer(d, p, alpha), known, rtol=0, atol=2e-11)


@pytest.mark.parametrize("d, p, alpha, known", KNOWN)
def test_recursion_against_literal_values(d, p, alpha, known):
    assert expected_hoyer_recursive(d, p, alpha) == pytest.approx(known, abs=1e-10)


def test_recursion_against_every_reference_value(reference):
    d, p, alpha, _, known = reference
    for one in np.unique(d):
        chosen = d == one
        own = expected_hoyer_recursive(int(one), p[chosen], alpha[chosen])
        np.testing.assert_allclose(own, known[chosen], rtol=0, atol=5e-10)  # d roundings, up to 10,000


def test_against_the_papers_integral():
    """Eq (35) for d = 2 by quadrature: one angle, no closed form used."""
    tau = 1.5 * (1.4 - 1)
    constant = 2 * special.gamma(tau) / special.gamma(tau / 2) ** 2

    def integrand(angle):
        return (np.sin(angle) * np.cos(angle)) ** (tau - 1) * (np.sin(angle) + np.cos(angle))

    ratio = constant * 2 * integrate.quad(integrand, 0, np.pi / 4)[0]  # symmetric about pi / 4
    by_hand = (np.sqrt(2) - ratio) / (np.sqrt(2) - 1)
    assert float(expected_hoyer(2, 1.4, 1.5)) == pytest.approx(by_hand, abs=1e-7)
    assert float(expected_hoyer_recursive(2, 1.4, 1.5)) == pytest.approx(by_hand, abs=1e-7)


def test_the_papers_hypergeometric_functions_give_the_same():
    """Eqs (36)-(38) as printed, but for the constant before xi in (37), where d is small enough for float64."""
    d, p, alpha = 9, 1.6, 1.2
    tau = alpha * (p - 1)
    f = special.hyp2f1
    omega = [
        (
            f(1 - tau / 2, k * tau / 2, k * tau / 2 + 1, 1) / (k * tau),
            f((1 - tau) / 2, k * tau / 2, k * tau / 2 + 1, 1) / (k * tau),
            f(1 - tau / 2, (k * tau + 1) / 2, (k * tau + 3) / 2, 1) / (k * tau + 1),
        )
        for k in range(1, d)
    ]
    product, xi = omega[0][0], omega[0][1] + omega[0][2]
    for one, two, three in omega[1:]:
        xi, product = xi * three + product * two, product * one
    scale = 2 ** (d - 1) * special.gamma(d * tau / 2) / special.gamma(tau / 2) ** d
    by_hand = (np.sqrt(d) - scale * xi) / (np.sqrt(d) - 1)
    assert float(expected_hoyer(d, p, alpha)) == pytest.approx(by_hand, abs=1e-10)


@pytest.mark.parametrize("d, p, alpha", [(2, 1.5, 0.5), (9, 1.2, 1.0001), (27, 1.07, 2.0), (72, 2.5, 3.0)])
def test_against_samples(d, p, alpha):
    """|x| drawn from eq (30) as it is printed: |x|^(2/(p-1)) ~ Gamma(alpha (p-1) / 2)."""
    x = np.random.default_rng(0).gamma(alpha * (p - 1) / 2, size=(100_000, d)) ** ((p - 1) / 2)
    assert_mean_is(expected_hoyer(d, p, alpha), hoyer(x ** (1 / (p - 1))))


def test_limits():
    assert expected_hoyer(1000, 1 + 1e-12, 1.0) == pytest.approx(1, abs=1e-9)
    assert expected_hoyer(1000, 1e12, 1.0) == pytest.approx(0, abs=1e-9)
    tau = 1.5 * 0.3
    many = 1 - np.sqrt(2 / tau) * special.gamma((tau + 1) / 2) / special.gamma(tau / 2)
    gaps = [float(expected_hoyer(d, 1.3, 1.5)) - many for d in (10**2, 10**4, 10**6)]
    assert gaps[0] > gaps[1] > gaps[2] > 0 and gaps[2] < 1e-3
    extremes = expected_hoyer(10**6, [1 + 1e-15, 1e300], [1e-300, 1e300])
    assert extremes.tolist() == [1, 0]


def test_shapes_and_directions():
    table = expected_hoyer(np.array([[9], [288]]), [1.05, 1.2, 2.0], 1.5)
    assert table.shape == (2, 3) and table[1, 2] == expected_hoyer(288, 2.0, 1.5)
    assert (np.diff(table, axis=0) < 0).all() and (np.diff(table, axis=1) < 0).all()  # falls with d and with p
    assert np.shape(expected_hoyer(288, 1.2, 1.5)) == ()


# --- standard normal inputs -------------------------------------------------------------------------------------


def test_gaussian_is_the_gamma_law_at_p_2_and_alpha_1():
    d = np.array([2, 9, 72, 1000, 10**6])
    np.testing.assert_allclose(expected_hoyer_gaussian(d, 2), expected_hoyer(d, 2, 1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("d, p", [(2, 1.001), (9, 1.01), (72, 1.2), (288, 1.07), (72, 3.0), (27, 20.0)])
def test_gaussian_against_samples(d, p):
    x = np.abs(np.random.default_rng(1).standard_normal((60_000, d)))
    x /= x.max(1, keepdims=True)
    assert_mean_is(expected_hoyer_gaussian(d, p), hoyer(x ** (1 / (p - 1))))


def test_gaussian_by_the_specs_caveat():
    assert expected_hoyer_gaussian([72, 72], 1.2) == pytest.approx([0.791, 0.791], abs=1e-3)
    assert expected_hoyer(72, 1.2, 1.0001) == pytest.approx(0.563, abs=1e-3)


# --- wrong input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "d, p, alpha, named",
    [
        (1, 1.2, 1.5, "d must be whole numbers from 2 .* got 1"),
        (2.5, 1.2, 1.5, "d must .* got 2.5"),
        (10**400, 1.2, 1.5, "d must"),
        (2_000_000, 1.2, 1.5, "d must .* got 2e.06"),
        ([9, np.nan], 1.2, 1.5, "d must .* got nan"),
        (9, 1.0, 1.5, "p must be finite numbers greater than 1, got 1"),
        (9, [1.2, np.inf], 1.5, "p must .* got inf"),
        (9, "small", 1.5, "p must .* got 'small'"),
        (9, 1.2, 0.0, "alpha must be finite numbers greater than 0, got 0"),
        ([9, 25], [1.1, 1.2, 1.3], 1.5, r"shapes \(2,\), \(3,\), \(\) do not fit"),
    ],
)
def test_wrong_values_are_named(d, p, alpha, named):
    with pytest.raises(UsageError, match=named):
        expected_hoyer(d, p, alpha)


def test_wrong_values_of_the_others():
    with pytest.raises(UsageError, match="one d at a time"):
        expected_hoyer_recursive([9, 25], 1.2, 1.5)
    with pytest.raises(UsageError, match="p must be in .* for Gaussian inputs, got 1.00001"):
        expected_hoyer_gaussian(9, 1.00001)
    with pytest.raises(UsageError, match="d must"):
        expected_hoyer_gaussian(1, 1.2)
