import numpy as np
import pytest

from lpss.errors import UsageError
from lpss.theory import expected_hoyer, fit_alpha, fit_alpha_by_layer

P = np.array([1.05, 1.1, 1.2, 1.4, 1.7, 2.2])


@pytest.mark.parametrize("alpha", [0.02, 0.7, 1.5, 40.0])
def test_alpha_comes_back_from_exact_values(alpha):
    fit = fit_alpha(expected_hoyer(144, P, alpha), 144, P)
    assert fit.alpha == pytest.approx(alpha, rel=1e-6) and fit.error < 1e-6 * alpha
    assert fit.n == 6 and fit.rms < 1e-9


def test_the_standard_error_is_the_spread_of_fits_to_noisy_values():
    rng = np.random.default_rng(0)
    exact = expected_hoyer(72, P, 1.3)
    fits = [fit_alpha(exact + 0.01 * rng.standard_normal(6), 72, P) for _ in range(200)]
    alphas = np.array([fit.alpha for fit in fits])
    assert alphas.mean() == pytest.approx(1.3, abs=0.01)
    assert np.sqrt(np.mean([fit.error**2 for fit in fits])) == pytest.approx(alphas.std(), rel=0.15)
    assert np.sqrt(np.mean([fit.rms**2 for fit in fits])) == pytest.approx(0.01 * np.sqrt(5 / 6), rel=0.1)


def test_one_measurement_has_no_standard_error():
    fit = fit_alpha(0.45, 288, 1.2)
    assert expected_hoyer(288, 1.2, fit.alpha) == pytest.approx(0.45, abs=1e-9)
    assert fit.n == 1 and np.isnan(fit.error)


def test_layers_are_fitted_apart():
    layers = ["conv1", "conv1", "conv2", "conv2", "conv1"]
    alpha = np.array([1.2, 1.2, 2.5, 2.5, 1.2])
    d, p = np.array([9, 9, 72, 72, 9]), np.array([1.1, 1.3, 1.1, 1.3, 1.8])
    fits = fit_alpha_by_layer(layers, expected_hoyer(d, p, alpha), d, p)
    assert list(fits) == ["conv1", "conv2"] and [fit.n for fit in fits.values()] == [3, 2]
    assert [fit.alpha for fit in fits.values()] == pytest.approx([1.2, 2.5])


@pytest.mark.parametrize(
    "hoyer, d, p, named",
    [
        ([0.5, np.nan], 9, 1.2, "hoyer must be numbers between 0 and 1, both excluded, got nan"),
        (1.0, 9, 1.2, "hoyer must .* got 1"),
        (0.5, 1, 1.2, "d must"),
        (0.5, 9, 0.5, "p must"),
        ([], 9, 1.2, "no measurement"),
        ([0.4, 0.5], 9, [1.1, 1.2, 1.3], "do not fit"),
    ],
)
def test_wrong_values_are_named(hoyer, d, p, named):
    with pytest.raises(UsageError, match=named):
        fit_alpha(hoyer, d, p)


def test_a_name_for_every_measurement():
    with pytest.raises(UsageError, match="do not fit"):
        fit_alpha_by_layer(["a", "b"], [0.3, 0.4, 0.5], 9, 1.2)
