"""Geometry of the unit L_p sphere: pure functions on tensors of 2 or more dims.

A *neuron* is an entry of dim 0 (a row of a Linear weight, an output filter of a conv weight); every norm runs
over the remaining dims. q = p / (p - 1) is the dual exponent, x^[a] = sgn(x) |x|^a elementwise.

Numerics: every norm divides by the row's largest magnitude first, so nothing leaves float32 however small p - 1
or the gradient is, and powers are products where the exponent is a whole number (p = 1.2 has q = 6) and
exp2(a log2 |x|) elsewhere: `pow` costs several times as much.
"""

import math

import torch
from torch import Tensor


def check_p(p: float) -> float:
    """Return p as a float. Raises ValueError unless 1 < p < inf (the dual exponent must exist)."""
    try:
        value = float(p)
    except (TypeError, ValueError):
        raise ValueError(f"p must be a number greater than 1, got {p!r}") from None
    if not 1.0 < value < math.inf:
        raise ValueError(f"p must be a finite number greater than 1, got {p!r}")
    return value


def dual_exponent(p: float) -> float:
    """q with 1/p + 1/q = 1."""
    p = check_p(p)
    return p / (p - 1.0)


def rows(x: Tensor) -> Tensor:
    """View x as (neurons, fan-in). Raises ValueError for fewer than 2 dims."""
    if x.dim() < 2:
        raise ValueError(f"a weight on the sphere needs 2 or more dims, got shape {tuple(x.shape)}")
    return x.reshape(x.shape[0], -1)


def abs_power(x: Tensor, a: float) -> Tensor:
    """|x|^a for a > 0, elementwise; 0 stays 0."""
    whole = round(a)
    base = x.abs()
    tolerance = 1e-11 if base.dtype == torch.float64 else 1e-6
    if 1 <= whole <= 64 and abs(a - whole) < tolerance:
        return _whole_power(base, whole)
    # log2(0) = -inf would be right too, but takes ten times as long, and most entries of a sparse weight are 0.
    power = base.clamp(min=torch.finfo(base.dtype).tiny).log2_().mul_(a).exp2_()
    return power.mul_(base.sign_())


def _whole_power(base: Tensor, n: int) -> Tensor:
    """base^n by repeated squaring."""
    result = None
    while True:
        if n & 1:
            result = base if result is None else result * base
        n >>= 1
        if not n:
            return result
        base = base * base


def signed_power(x: Tensor, a: float) -> Tensor:
    """x^[a] = sgn(x) |x|^a (eq 8), for a > 0."""
    return torch.copysign(abs_power(x, a), x)


def row_norm(x: Tensor, p: float) -> Tensor:
    """(neurons, 1): ||x_j||_p of each neuron; not finite where the neuron holds NaN or inf."""
    scaled, largest = _scaled_magnitudes(x)
    return abs_power(scaled, p).sum(1, keepdim=True).pow_(1.0 / p).mul_(largest)


def normalize(x: Tensor, p: float) -> Tensor:
    """x_j / ||x_j||_p for each neuron, in x's shape; a neuron of zeros stays zero."""
    return (rows(x) / _nonzero(row_norm(x, p))).view_as(x)


def dual_pair(x: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """(u, d): u = x / ||x||_q on the unit L_q sphere and d = u^[q-1] on the unit L_p sphere, in x's shape.

    d is Delta of eq (10) when x is a gradient, and (u, d) are (v, w) of eqs (22)-(23) when x is the unnormalised v.
    One power an element serves both. Neurons of zeros give zeros.
    """
    q = dual_exponent(p)
    scaled, largest = _scaled_magnitudes(x)
    power = abs_power(scaled, q - 1.0)
    total = _nonzero((power * scaled).sum(1, keepdim=True))  # not vecdot: autocast would run it in bfloat16
    unit = rows(x) / (_nonzero(largest) * total.pow(1.0 / q))
    dual = power.mul_(total.pow(1.0 / q - 1.0)).copysign_(rows(x))
    return unit.view_as(x), dual.view_as(x)


def _scaled_magnitudes(x: Tensor) -> tuple[Tensor, Tensor]:
    """(|x_j| / max|x_j|, max|x_j|) as (neurons, fan-in) and (neurons, 1); neurons of zeros stay zero."""
    magnitude = rows(x).abs()
    largest = magnitude.amax(1, keepdim=True)  # vector_norm(ord=inf) takes ten times as long
    return magnitude.div_(_nonzero(largest)), largest


def _nonzero(x: Tensor) -> Tensor:
    """x with zeros replaced by ones: a divisor for rows that are zero anyway."""
    return torch.where(x == 0, torch.ones_like(x), x)


def hoyer_sparsity(weight: Tensor) -> Tensor:
    """Hoyer's sparsity of each neuron (eq 2): (neurons,), 0 where all magnitudes are equal, 1 for one non-zero.

    NaN for a neuron of zeros. Raises ValueError for fewer than 2 dims or a fan-in of 1, where it is not defined.
    """
    flat = rows(weight)
    d = flat.shape[1]
    if d < 2:
        raise ValueError(f"Hoyer's sparsity needs a fan-in of 2 or more, got shape {tuple(weight.shape)}")
    flat = flat / flat.abs().amax(1, keepdim=True)
    ratio = flat.abs().sum(1) / flat.square().sum(1).sqrt()
    return (math.sqrt(d) - ratio) / (math.sqrt(d) - 1.0)
