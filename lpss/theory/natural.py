"""How sparse a neuron becomes by LpSS's drop rule alone: weights below zeta_w x their mean magnitude go."""

import math
from collections.abc import Iterable

import numpy as np

from lpss.errors import UsageError
from lpss.options import check_range
from lpss.theory.arguments import MOST_FAN_IN, exponents, fan_ins, positive

DRAWS = 2**19  # weights drawn for an estimate, whatever the fan-in
P_RANGE = (1.001, 1000.0)  # where `largest_p` looks
MARGIN = 0.01  # of sparsity: what `shortfall` counts as reached


def natural_sparsity(d: int, p: float, zeta_w: float, alpha: float | None = None, *, once: bool = False) -> float:
    """The share of a neuron's d weights that the drop rule alone drops, repeated until nothing is left to drop.

    An estimate from random weights w = x^[1/(p-1)] with a fixed seed, within about .002; no training, no growth.

    Args:
        d: fan-in, from 2 to a million.
        p: of the sphere, in (1, inf).
        zeta_w: the relative threshold, in (0, 1].
        alpha: shape of the inputs' law, eq (30), or None for standard normal inputs.
        once: drop once instead.

    It never decreases as p decreases: for a given x, the threshold is zeta_w^(p-1) times a power mean of the |x| that
    are left. Raises UsageError for values out of range.
    """
    d, p = _checked(d, p, zeta_w, alpha)
    rng = np.random.default_rng(0)
    log = np.sort(_log_weights(rng, (max(4, DRAWS // d), d), p, alpha), axis=1)[:, ::-1]
    weights = np.exp(log - log[:, :1])  # largest first, and 1
    means = weights.cumsum(1) / np.arange(1, d + 1)
    if once:
        return float((weights < zeta_w * means[:, -1:]).mean())
    # Dropping stops at the largest k whose k-th weight is at least zeta_w x the mean of the k largest: means fall with
    # k, so no earlier threshold drops any of these.
    stays = weights >= zeta_w * means
    return float(stays[:, ::-1].argmax(1).mean() / d)


def largest_p(sparsity: float, d: int, zeta_w: float, alpha: float | None = None) -> float | None:
    """The largest p whose `natural_sparsity` reaches a sparsity in (0, 1); every smaller p does so too.

    None where no p down to 1.001 does (a neuron keeps at least one weight), inf where p = 1000 still does.
    Raises UsageError for values out of range.
    """
    from scipy.optimize import bisect

    check_range(sparsity, "sparsity", 0, 1, open_low=True, open_high=True)

    def excess(log: float) -> float:
        return natural_sparsity(d, 1 + math.exp(log), zeta_w, alpha) - sparsity

    low, high = (math.log(p - 1) for p in P_RANGE)
    if excess(low) < 0:
        return None
    if excess(high) >= 0:
        return math.inf
    return 1 + math.exp(bisect(excess, low, high, xtol=1e-3))


def shortfall(layers: Iterable[tuple[int, int, float | None]], sparsity: float, zeta_w: float) -> str | None:
    """A warning if dropping alone does not reach the requested sparsity because p is too large; else None.

    Args:
        layers: (fan-in, weights, p) of each layer that is masked; p None is off the sphere.
        sparsity: the requested one, over all layers, in [0, 1).
        zeta_w: the relative threshold that dropping starts with.

    Weights are assumed to be those that Gaussian inputs lead to (off the sphere, Gaussian themselves, which is p = 2).
    Raises UsageError for values out of range.
    """
    check_range(sparsity, "sparsity", 0, 1, open_high=True)
    # A neuron of one weight always keeps it.
    layers = [(min(d, MOST_FAN_IN), weights, p or 2.0) for d, weights, p in layers if d > 1]
    if not layers:
        return None
    by_kind = {kind: natural_sparsity(*kind, zeta_w) for kind in {(d, p) for d, _, p in layers}}
    reached = sum(weights * by_kind[d, p] for d, weights, p in layers) / sum(weights for _, weights, _ in layers)
    if reached >= sparsity - MARGIN:
        return None
    d = max(layers, key=lambda layer: layer[1])[0]
    p = largest_p(sparsity, d, zeta_w)
    remedy = "no p reaches it" if p is None else f"p of at most {p:.3g} does at fan-in {d}"
    return (
        f"optimizer.p is large for sparsity {sparsity:g}: dropping below zeta_w={zeta_w:g} x mean |w| is expected to "
        f"lead to about {reached:.2f} by itself; {remedy}, or a larger method.zeta_w"
    )


def _log_weights(rng: np.random.Generator, shape: tuple[int, int], p: float, alpha: float | None) -> np.ndarray:
    """log |w| of neurons (rows), up to a constant: in logarithms, since |x|^(1/(p-1)) leaves float64 for small p."""
    if alpha is None:
        return np.log(np.abs(rng.standard_normal(shape))) / (p - 1)
    # w^2 ~ Gamma(k), and Gamma(k) = Gamma(k + 1) U^(1/k), which is exact however small k is.
    k = alpha * (p - 1) / 2
    return (np.log(rng.standard_gamma(k + 1, shape)) - rng.standard_exponential(shape) / k) / 2


def _checked(d, p, zeta_w, alpha) -> tuple[int, float]:
    d, p = fan_ins(d), exponents(p)
    if d.ndim or p.ndim:
        raise UsageError(f"d and p must be single numbers here, got shapes {d.shape} and {p.shape}")
    check_range(zeta_w, "zeta_w", 0, 1, open_low=True)
    if alpha is not None:
        positive(alpha, "alpha")
    return int(d), float(p)
