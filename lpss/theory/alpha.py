"""Fits alpha of eq (30), whose value the paper does not state, to measured Hoyer's sparsities."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from lpss.errors import UsageError
from lpss.theory.arguments import exponents, fan_ins, fractions, together
from lpss.theory.hoyer import expected_hoyer


@dataclass(frozen=True)
class AlphaFit:
    """alpha, its standard error (NaN for one measurement), the root mean square of the residuals, their number."""

    alpha: float
    error: float
    rms: float
    n: int


def fit_alpha(hoyer, d, p) -> AlphaFit:
    """The alpha of least squares between measured Hoyer's sparsities and `expected_hoyer(d, p, alpha)`.

    Args:
        hoyer: measurements in (0, 1), such as means over a layer's neurons: a number or an array.
        d, p: fan-in and p of each, numbers or arrays of matching shape.

    The standard error assumes that residuals are independent and equally large; where the law does not fit, they are
    neither, so look at `rms` too. Raises UsageError for values out of range or no measurement.
    """
    from scipy.optimize import least_squares

    hoyer, d, p = (x.ravel() for x in together(fractions(hoyer, "hoyer"), fan_ins(d), exponents(p)))
    if not hoyer.size:
        raise UsageError("hoyer holds no measurement to fit alpha to")

    def residuals(log_alpha):
        return expected_hoyer(d, p, np.exp(log_alpha)) - hoyer

    # The sum of squares may have flat ends, where no step leads anywhere: start from the best of a grid.
    grid = np.linspace(-9, 9, 73)
    start = min(grid, key=lambda log_alpha: np.square(residuals(log_alpha)).sum())
    fit = least_squares(residuals, start, jac="3-point", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    alpha, squares, n = float(np.exp(fit.x[0])), 2 * fit.cost, hoyer.size
    error = alpha * np.sqrt(squares / (n - 1) / np.square(fit.jac).sum()) if n > 1 else np.nan
    return AlphaFit(alpha, float(error), float(np.sqrt(squares / n)), n)


def fit_alpha_by_layer(layers: Sequence[Hashable], hoyer, d, p) -> dict[Hashable, AlphaFit]:
    """Layer -> `fit_alpha` of its own measurements, in order of appearance; `layers` names each measurement's layer.

    hoyer, d and p: numbers or arrays (measurements,). Raises UsageError as `fit_alpha` does.
    """
    names = list(layers)
    hoyer, d, p, _ = together(*(np.asarray(x, dtype=float) for x in (hoyer, d, p)), np.empty(len(names)))
    fits = {}
    for name in dict.fromkeys(names):
        own = np.array([other == name for other in names])
        fits[name] = fit_alpha(hoyer[own], d[own], p[own])
    return fits
