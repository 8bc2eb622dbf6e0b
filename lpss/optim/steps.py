"""The steps of LpSGD and LpSGD-m in torch operations: one weight tensor at a time, state in, state out.

These two functions are the definition; lpss/native/sphere.c and triton_step.py do the same arithmetic in one pass on
CPUs and GPUs. Both run on any device, in float32 (float64 for float64 weights) whatever the weight's dtype, and write
in place.

Neurons whose direction is exactly zero, or whose step ends on zero, keep their weights. Neurons whose gradient holds
NaN or inf keep their weights and all state.
"""

import torch
from torch import Tensor

from lpss import sphere
from lpss.optim.scratch import Scratch


def lpsgd_step(
    weight: Tensor,
    grad: Tensor,
    *,
    eta: float | Tensor,
    p: float,
    capturable: bool = False,
    scratch: Scratch | None = None,
) -> Tensor:
    """LpSGD, eqs (9)-(13): w moves towards -Delta and back on the unit L_p sphere. The norm in (13) is the p-norm; the
    paper prints the q-norm, which leaves the sphere.

    Args:
        weight, grad: one shape of 2 or more dims; `weight` is overwritten.
        eta: in [0, 1], a number or a scalar tensor on the weight's device.
        p: 1 < p < inf.
        capturable: never read a value on the host, so that the step can be captured in a CUDA graph.
        scratch: working memory to use again; made where None.

    Returns the number of neurons with a gradient that is not finite, () int64 on the weight's device.
    """
    q = sphere.dual_exponent(p)
    w, g = sphere.rows(upcast(weight)), upcast(grad)
    a, b, c = (scratch or Scratch()).like(w, 3)
    size, total = sphere.scaled_power(g, q, a, b, c)  # (9) lambda = size total^(1/q)
    delta, factor = b, total.pow(1.0 / q - 1.0)  # (10) Delta = (g / lambda)^[q-1] = factor delta
    t = torch.mul(w, 1.0 - eta, out=c).addcmul_(delta, -eta * factor)  # (13) t = (1 - eta) w - eta Delta
    length, total = sphere.scaled_power(t, p, c, a, b)
    w_next = c.mul_(total.pow(-1.0 / p))  # (13) w+ = t / ||t||_p

    finite = torch.isfinite(size)
    _write(weight, w_next, ~finite | (size == 0) | (length == 0), capturable)
    return (~finite).sum()


def lpsgdm_step(
    weight: Tensor,
    v: Tensor,
    mu: Tensor,
    grad: Tensor,
    *,
    eta: float | Tensor,
    p: float,
    gamma: float,
    nesterov: bool = False,
    capturable: bool = False,
    scratch: Scratch | None = None,
) -> Tensor:
    """LpSGD-m, eqs (21)-(24): v moves on the unit L_q sphere along the momentum mu, and w = v^[q-1] follows.

    Args:
        weight, v, mu, grad: one shape of 2 or more dims; the first three are overwritten. v and mu are in
            `compute_dtype`.
        gamma: momentum in [0, 1), without dampening.
        nesterov: move along g + gamma mu+ instead of mu+, as the authors' demo does.
        eta, p, capturable, scratch: as for `lpsgd_step`.

    Returns the number of neurons with a direction that is not finite, () int64 on the weight's device.
    """
    q = sphere.dual_exponent(p)
    g = sphere.rows(upcast(grad))
    a, b, c, d = (scratch or Scratch()).like(g, 4)
    mu_next = torch.add(g, sphere.rows(mu), alpha=gamma, out=a)  # (21) mu+ = gamma mu + g
    direction = torch.add(g, mu_next, alpha=gamma, out=b) if nesterov else mu_next
    size, total = sphere.scaled_power(direction, q, b, c, d)
    unit, factor = b, total.pow(-1.0 / q)  # mu+ / ||mu+||_q = factor unit
    t = torch.mul(sphere.rows(v), 1.0 - eta, out=c).addcmul_(unit, -eta * factor)  # (22)
    length, total = sphere.scaled_power(t, q, c, b, d)
    v_next = c.mul_(total.pow(-1.0 / q))  # (24) v+ = t / ||t||_q
    w_next = b.mul_(total.pow(1.0 / q - 1.0))  # (23) w+ = (v+)^[q-1]

    finite = torch.isfinite(size)
    keep = ~finite | (size == 0) | (length == 0)
    _write(mu, mu_next, ~finite, capturable)
    _write(v, v_next, keep, capturable)
    _write(weight, w_next, keep, capturable)
    return (~finite).sum()


def latent_of_weight(weight: Tensor, p: float) -> Tensor:
    """v = w^[p-1] on the unit L_q sphere, where LpSGD-m starts: in the shape of the weight, which may have any norm."""
    v = sphere.signed_power(sphere.normalize(upcast(weight), p), p - 1.0)
    return sphere.normalize(v, sphere.dual_exponent(p))


def compute_dtype(weight: Tensor) -> torch.dtype:
    """The dtype of a weight's arithmetic and state: float64 for float64 weights, else float32."""
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def upcast(x: Tensor) -> Tensor:
    """x, detached, in `compute_dtype`."""
    return x.detach().to(compute_dtype(x))


def _write(target: Tensor, new: Tensor, keep: Tensor, capturable: bool) -> None:
    """Overwrite the target with new (neurons, fan-in), except for neurons to keep (neurons, 1)."""
    # `where` is slow: on the CPU, where looking costs nothing, it runs only if a neuron is to be kept.
    if capturable or not keep.is_cpu or bool(keep.any()):
        new = torch.where(keep, sphere.rows(target), new)
    target.copy_(new.view_as(target))
