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

MAX_WHOLE = 64  # the largest exponent that is multiplied out


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
    """q with 1/p + 1/q = 1. Raises ValueError unless 1 < p < inf."""
    p = check_p(p)
    return p / (p - 1.0)


def rows(x: Tensor) -> Tensor:
    """View x as (neurons, fan-in). Raises ValueError for fewer than 2 dims."""
    if x.dim() < 2:
        raise ValueError(f"a weight on the sphere needs 2 or more dims, got shape {tuple(x.shape)}")
    return x.reshape(x.shape[0], -1)


def whole_exponent(a: float, *, maximum: int, tolerance: float = 1e-6) -> int:
    """a as an int where it is, up to rounding, a whole number in 1 .. maximum, so that x^[a] is a product; else 0.

    The one rule for this module, the C kernel and the Triton kernels, each with the largest exponent it multiplies out.
    """
    whole = round(a)
    return whole if 1 <= whole <= maximum and abs(a - whole) < tolerance else 0


def abs_power(x: Tensor, a: float) -> Tensor:
    """|x|^a for a > 0, elementwise, in x's shape and dtype; 0 stays 0."""
    return signed_power(x.abs(), a)


def signed_power(x: Tensor, a: float, out: Tensor | None = None, spare: Tensor | None = None) -> Tensor:
    """x^[a] = sgn(x) |x|^a (eq 8), for a > 0, in x's shape and dtype; 0 stays 0.

    The result is written to `out`; `spare` is working memory. Both are buffers like x, made where None.
    """
    out = torch.empty_like(x) if out is None else out
    spare = torch.empty_like(x) if spare is None else spare
    whole = whole_exponent(a, maximum=MAX_WHOLE, tolerance=1e-11 if x.dtype == torch.float64 else 1e-6)
    if whole:
        odd = whole if whole % 2 else whole - 1
        _odd_power(x, odd, out, spare)
        return out if odd == whole else out.mul_(torch.abs(x, out=spare))
    # log2(0) = -inf would give the same result, but takes ten times as long, and most entries of a sparse weight are 0.
    torch.abs(x, out=out).clamp_(min=torch.finfo(x.dtype).tiny).log2_().mul_(a).exp2_()
    return out.mul_(torch.sign(x, out=spare))


def _odd_power(x: Tensor, n: int, out: Tensor, square: Tensor) -> None:
    """out = x^n by repeated squaring; an odd n keeps x's sign. `square` is working memory."""
    out.copy_(x)
    n >>= 1
    if n:
        torch.mul(x, x, out=square)
    while n:
        if n & 1:
            out.mul_(square)
        n >>= 1
        if n:
            square.mul_(square)


def scaled_power(x: Tensor, q: float, scaled: Tensor, power: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
    """The building block of every norm and step: scaled = x_j / max|x_j| and power = scaled^[q-1] of each neuron j.

    Both are written into the given (neurons, fan-in) buffers; `spare` is another, and x may be `scaled` itself. Returns
    (largest, total), both (neurons, 1): max|x_j| and ||scaled_j||_q^q, so that

        ||x_j||_q = largest total^(1/q)
        u_j = x_j / ||x_j||_q = scaled total^(-1/q)
        u_j^[q-1] = power total^(1/q - 1)

    Neurons of zeros have largest 0 and total 1; those with NaN or inf have a largest that is not finite.
    """
    flat = rows(x)
    largest = torch.maximum(flat.amax(1, keepdim=True), -flat.amin(1, keepdim=True))  # faster than any form of |x|
    torch.div(flat, _nonzero(largest), out=scaled)
    signed_power(scaled, q - 1.0, power, spare)
    total = torch.mul(power, scaled, out=spare).sum(1, keepdim=True)
    return largest, _nonzero(total)


def row_norm(x: Tensor, p: float) -> Tensor:
    """(neurons, 1): ||x_j||_p of each neuron; not finite where the neuron holds NaN or inf."""
    largest, total = scaled_power(x, p, *buffers(x, 3))
    return largest * total.pow(1.0 / p)


def normalize(x: Tensor, p: float) -> Tensor:
    """x_j / ||x_j||_p for each neuron, in x's shape and dtype; a neuron of zeros stays zero."""
    scaled, power, spare = buffers(x, 3)
    _, total = scaled_power(x, p, scaled, power, spare)
    return scaled.mul_(total.pow(-1.0 / p)).view_as(x)


def dual_pair(x: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """(u, d): u = x / ||x||_q on the unit L_q sphere and d = u^[q-1] on the unit L_p sphere, in x's shape.

    d is Delta of eq (10) when x is a gradient, and (u, d) are (v, w) of eqs (22)-(23) when x is the unnormalised v.
    One power an element serves both. Neurons of zeros give zeros.
    """
    q = dual_exponent(p)
    scaled, power, spare = buffers(x, 3)
    _, total = scaled_power(x, q, scaled, power, spare)
    return scaled.mul_(total.pow(-1.0 / q)).view_as(x), power.mul_(total.pow(1.0 / q - 1.0)).view_as(x)


def buffers(x: Tensor, count: int) -> Tensor:
    """(count, neurons, fan-in) of x's dtype and device, not initialised."""
    flat = rows(x)
    return flat.new_empty((count, *flat.shape))


def _nonzero(x: Tensor) -> Tensor:
    """x with zeros replaced by ones: a safe divisor, since what is divided is zero there."""
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
