"""LpSGD and LpSGD-m: gradient descent with every neuron's weights on the unit L_p sphere.

Both are ordinary `torch.optim.Optimizer`s. `p` is a per-group option; a group with `p=None` is plain SGD
(momentum, weight decay), so that one optimizer serves a whole net: weights on the sphere, biases, norms and
excluded layers off it. `lpss.param_groups(net, p=...)` makes such groups.

The equations are those of the paper (Li et al. 2021, https://arxiv.org/abs/2103.16013), in the version titled
"Controlling Sparsity of Neural Network by Constraining Synaptic Weight on Unit Lp-Sphere".
"""

import torch
from torch import Tensor

from lpss import sphere
from lpss.active import active_entries
from lpss.optim.sphere_optimizer import SphereOptimizer, neurons_first
from lpss.optim.steps import latent_of_weight
from lpss.registries import OPTIMIZERS


@OPTIMIZERS.register("lpsgd")
class LpSGD(SphereOptimizer):
    """L_p-spherical gradient descent, eqs (9)-(14).

    The norm in eq (13) is the p-norm; the paper prints the q-norm, with which weights leave the sphere.

    Args:
        params: tensors, named tensors or groups, as for any torch optimizer. On the sphere: 2 or more dims.
        lr: eta in [0, 1] on the sphere, step size elsewhere; a group may set its own.
        p: 1 < p < inf, or None for plain SGD; a group may set its own.
        momentum, nesterov, weight_decay: for groups with p=None only; LpSGD itself has no momentum.

    Raises ValueError for a wrong p, lr, momentum, weight decay or shape.
    """

    label = "LpSGD"
    reference = (
        "Li et al. 2021, Training Sparse Neural Network by Constraining Synaptic Weight on Unit Lp Sphere, "
        "https://arxiv.org/abs/2103.16013"
    )
    order = 2

    def _sphere_step(self, params: list[Tensor], group: dict) -> None:
        self._move([(param, param.grad) for param in params], group)


@OPTIMIZERS.register("lpsgd_m")
class LpSGDm(SphereOptimizer):
    """LpSGD with momentum, eqs (21)-(26): v moves on the unit L_q sphere and w = v^[q-1].

    Args:
        params, lr, p, weight_decay: as for LpSGD.
        momentum: gamma of eqs (21) and (25), in [0, 1); no dampening.
        nesterov: move along grad + gamma mu instead of mu.

    State per weight on the sphere: `v` and `mu`, in the weight's shape, float32 (float64 for float64 weights). v is
    read off the weights at the first step, so weights may be loaded up to then; afterwards call `reset_latent(param)`.

    Raises ValueError for a wrong p, lr, momentum, weight decay or shape.
    """

    label = "LpSGD-m"
    reference = (
        "Li et al. 2021, Training Sparse Neural Network by Constraining Synaptic Weight on Unit Lp Sphere, "
        "https://arxiv.org/abs/2103.16013"
    )
    order = 3

    def _sphere_step(self, params: list[Tensor], group: dict) -> None:
        pieces = [(param, self._v(param, group), self._buffer(param, "mu"), param.grad) for param in params]
        self._move(pieces, group, gamma=group["momentum"], nesterov=group["nesterov"])

    def latent(self, param: Tensor) -> Tensor:
        """v of a weight on the sphere, else the weight itself. Edit, then `retract`."""
        group = self._group_of(param)
        return param.detach() if group["p"] is None else self._v(param, group)

    def _v(self, param: Tensor, group: dict) -> Tensor:
        state = self.state[param]
        if "v" not in state:
            state["v"] = self._v_of_weight(param, group)
        return state["v"]

    @staticmethod
    def _v_of_weight(param: Tensor, group: dict) -> Tensor:
        entries = active_entries(param)
        weight = param if entries is None else entries.expand(param)
        v = neurons_first(latent_of_weight(neurons_first(weight, group), group["p"]), group)
        return v if entries is None else entries.gather(v)

    def to_latent(self, param: Tensor, weight: Tensor) -> Tensor:
        """w^[p-1], in the parameter's shape: v of these weights where they are on the sphere."""
        p = self.p_of(param)
        return weight if p is None else sphere.signed_power(weight, p - 1.0)

    @torch.no_grad()
    def reset_latent(self, param: Tensor) -> None:
        """Read v off the weights again, v = w^[p-1]: call it when the weights were changed from outside."""
        group = self._group_of(param)
        if group["p"] is not None:
            self._v(param, group).copy_(self._v_of_weight(param, group))

    @torch.no_grad()
    def retract(self, param: Tensor) -> None:
        """Put v back on the unit L_q sphere and set w = v^[q-1], eqs (23)-(24); does nothing where p is None."""
        group = self._group_of(param)
        if group["p"] is not None:
            v = neurons_first(self._v(param, group), group)
            unit, weight = sphere.dual_pair(v, group["p"])
            v.copy_(unit)
            neurons_first(param, group).copy_(weight)
