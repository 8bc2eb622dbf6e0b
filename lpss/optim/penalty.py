"""The L_p penalty  (lambda / p) sum |w|^p  on weights off the sphere: as a gradient, or as a proximal step.

Below p = 2 the penalty's slope at 0 is steep beside the weight itself, so that gradient steps jump about; the proximal
step solves for the weight that step and penalty lead to together.
"""

import torch
from torch import Tensor

from lpss import sphere

STEPS = ("proximal", "gradient")
NEWTON = 8  # iterations; 6 reach 1e-12 for p in 1.05 .. 4


def gradient(weight: Tensor, strength: float, p: float) -> Tensor:
    """lambda w^[p-1], for p > 1; lambda sgn(w) for p = 1."""
    return strength * (weight.sign() if p == 1 else sphere.signed_power(weight, p - 1.0))


def proximal(weight: Tensor, c: float | Tensor, p: float) -> Tensor:
    """The u that solves  u + c u^[p-1] = w  elementwise, for c >= 0 and p >= 1.

    p = 1 is soft thresholding, p = 2 division by 1 + c, p = 1.5 has a closed form; other p take Newton steps, below 2
    in t = |u|^(p-1), where the equation is convex and the start lies on the side from which they are monotone.
    """
    size = weight.abs()
    if p == 1:
        return weight.sign() * (size - c).clamp(min=0)
    if p == 2:
        return weight / (1 + c)
    if p == 1.5:
        c = torch.as_tensor(c, dtype=weight.dtype, device=weight.device)
        # ((sqrt(c^2 + 4 |w|) - c) / 2)^2, without the difference of two numbers that are nearly alike
        return (
            weight.sign() * (2 * size / ((c * c + 4 * size).sqrt() + c).clamp(min=torch.finfo(weight.dtype).tiny)) ** 2
        )
    tiny = torch.finfo(weight.dtype).tiny
    c = torch.as_tensor(c, dtype=weight.dtype, device=weight.device).clamp(min=tiny)
    if p < 2:
        a = 1 / (p - 1)  # t^a + c t = |w|
        t = torch.minimum(size.pow(p - 1), size / c)
        for _ in range(NEWTON):
            t = (t - (t.pow(a) + c * t - size) / (a * t.pow(a - 1) + c)).clamp(min=0)
        return weight.sign() * t.pow(a)
    u = torch.minimum(size, (size / c).pow(1 / (p - 1)))  # u + c u^(p-1) = |w|
    for _ in range(NEWTON):
        u = (u - (u + c * u.pow(p - 1) - size) / (1 + c * (p - 1) * u.pow(p - 2))).clamp(min=0)
    return weight.sign() * u
