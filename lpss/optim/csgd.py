"""cSGD: Riemannian gradient descent with every neuron's weights on the unit L_p sphere."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss import sphere
from lpss.optim.sphere_optimizer import SphereOptimizer, neurons_first
from lpss.optim.steps import upcast
from lpss.registries import OPTIMIZERS


@OPTIMIZERS.register("csgd")
class CSGD(SphereOptimizer):
    """Riemannian SGD on the L_p sphere: gradients are projected on its tangent space, and steps brought back to it.

    With the normal n = w^[p-1] of a neuron and the projection P(x) = x - n (n.x) / (n.n):

        M+ = gamma P(M) + P(g),    w+ = (w - lr M+) / ||w - lr M+||_p

    Momentum is carried from one tangent space to the next by projecting it. With nesterov the step is along
    P(g) + gamma M+. lr is a step size, not the eta in [0, 1] of LpSGD; without momentum and at p = 2 both take the same
    path, with steps of other lengths.

    The paper names cSGD, after Roy and Harandi, as what constrained training was before; neither says more of it than
    that, so projection, retraction and transport are the usual ones of Riemannian optimisation.

    Args:
        params, p, weight_decay: as for LpSGD. lr: at least 0. momentum, nesterov: of all weights.

    State per weight: `momentum_buffer`, where there is momentum.

    Raises ValueError for a wrong p, lr, momentum, weight decay or shape.
    """

    label = "cSGD"
    reference = (
        "Roy and Harandi 2017, Constrained Stochastic Gradient Descent: The Good Practice, DICTA (reference 22 of "
        "Li et al. 2021, https://arxiv.org/abs/2103.16013)"
    )
    order = 4

    takes_active_entries = False
    mixes = False

    @dataclass
    class Config(SphereOptimizer.Config):
        """lr is the step size of weights on the sphere, the rest as for the others."""

        lr: float = 0.1

    def _sphere_step(self, params: list[Tensor], group: dict) -> None:
        p, lr, gamma = group["p"], group["lr"], group["momentum"]
        self.code_paths.add("tensor code")
        for param in params:
            weight, grad = (neurons_first(x, group) for x in (param, param.grad))
            w, g = sphere.rows(upcast(weight)), sphere.rows(upcast(grad))
            normal = sphere.signed_power(w, p - 1.0)
            length = normal.square().sum(1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
            finite = torch.isfinite(g).all(1, keepdim=True)
            direction = _tangent(torch.where(finite, g, 0.0), normal, length)
            if gamma:
                buffer = neurons_first(self._buffer(param, "momentum_buffer"), group)
                before = sphere.rows(buffer)
                carried = torch.add(direction, _tangent(before, normal, length), alpha=gamma)
                buffer.copy_(torch.where(finite, carried, before).view_as(buffer))
                direction = torch.add(direction, carried, alpha=gamma) if group["nesterov"] else carried
            moved = sphere.normalize(w - lr * direction, p)
            still = ~finite | (direction == 0).all(1, keepdim=True) | (moved == 0).all(1, keepdim=True)
            weight.copy_(torch.where(still, w, moved).view_as(weight))
            self._nonfinite.add((~finite).sum())


def _tangent(x: Tensor, normal: Tensor, length: Tensor) -> Tensor:
    """x without its part along the normal; all (neurons, fan-in), `length` (neurons, 1) the normal's squared norm."""
    return x - normal * ((normal * x).sum(1, keepdim=True) / length)
