"""What a sparse training method asks of an optimizer, so that it needs to know no optimizer's class."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class LatentWeights(Protocol):
    """An optimizer whose weights live on spheres, or follow from other ("latent") tensors that its steps move.

    Any torch optimizer with these four methods is treated accordingly by every method.
    """

    def p_of(self, param: Tensor) -> float | None:
        """The p of the L_p sphere on which each neuron of this weight lives; None for an ordinary weight."""

    def latent(self, param: Tensor) -> Tensor:
        """The tensor that a step moves, in the weight's shape. It may be edited in place; then call `retract`."""

    def to_latent(self, param: Tensor, weight: Tensor) -> Tensor:
        """Values for this weight, in its shape, as values of its latent tensor."""

    def retract(self, param: Tensor) -> None:
        """Make the weight follow its edited latent tensor, and put both back on their spheres."""


class PlainWeights:
    """`LatentWeights` of any other torch optimizer: a weight is its own latent tensor, and there is no sphere."""

    def p_of(self, param: Tensor) -> None:
        return None

    def latent(self, param: Tensor) -> Tensor:
        return param

    def to_latent(self, param: Tensor, weight: Tensor) -> Tensor:
        return weight

    def retract(self, param: Tensor) -> None:
        pass


_PLAIN = PlainWeights()


def latent_weights(optimizer: torch.optim.Optimizer) -> LatentWeights:
    """The optimizer itself where it implements `LatentWeights`, else the neutral `PlainWeights`."""
    return optimizer if isinstance(optimizer, LatentWeights) else _PLAIN


# Whose steps leave a weight at zero that has a gradient and a state of zero. Every other optimizer's steps are followed
# by masking the weights: torch's Muon and LBFGS mix them, and of one that is not known here nobody knows.
_ELEMENTWISE = {
    getattr(torch.optim, name)
    for name in ("SGD Adam AdamW NAdam RAdam Adamax Adagrad Adadelta RMSprop Rprop ASGD Adafactor SparseAdam".split())
    if hasattr(torch.optim, name)
}


def keeps_zeros(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a weight that is zero, as are its gradient and state, is zero after the optimizer's step."""
    return type(optimizer) in _ELEMENTWISE or isinstance(optimizer, LatentWeights)


# Of these, those whose state depends on the weight's shape.
_BY_SHAPE = {getattr(torch.optim, "Adafactor", None)}


def steps_by_entries(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a weight may be given as its active entries alone (lpss/active.py): the optimizer moves each entry by
    itself, or says that it knows of neurons' rows by an attribute `takes_active_entries`."""
    return type(optimizer) in _ELEMENTWISE - _BY_SHAPE or getattr(optimizer, "takes_active_entries", False)


def forget_curvature(optimizer: torch.optim.Optimizer) -> None:
    """Have LBFGS begin again: its curvature is that of the weights that were active. Call it when masks have changed.

    The state of other optimizers belongs to single weights, of which `Masks.update` takes care.
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        for state in optimizer.state.values():
            state["n_iter"] = 0


@torch.no_grad()
def forget_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Zero what the optimizer has gathered of all gradients so far, and its counts of steps; weights and the latent
    tensors that they follow from stay."""
    weights = latent_weights(optimizer)
    for param, state in optimizer.state.items():
        latent = weights.latent(param)
        for key, value in state.items():
            if torch.is_tensor(value) and value is not latent and (value.shape == param.shape or key == "step"):
                value.zero_()


@torch.no_grad()
def forget_momentum_at(optimizer: torch.optim.Optimizer, param: Tensor, places: Tensor) -> None:
    """As `forget_momentum`, of some entries of a weight: where `places` (bool, in its shape) is True."""
    latent = latent_weights(optimizer).latent(param)
    for value in optimizer.state.get(param, {}).values():
        if torch.is_tensor(value) and value is not latent and value.shape == param.shape:
            value.masked_fill_(places, 0)


@torch.no_grad()
def follow(optimizer: torch.optim.Optimizer, param: Tensor, mask: Tensor) -> bool:
    """See to it that the latent tensor of a weight that was written to from outside is this weight's.

    If the weight is not what follows from its latent tensor, the latent tensor is read off the weight, which is put on
    its sphere; else both stay bitwise as they are. Returns whether it was read. `mask` is in the parameter's shape.
    """
    weights = latent_weights(optimizer)
    latent = weights.latent(param)
    if latent.data_ptr() == param.data_ptr() and weights.p_of(param) is None:
        return False
    before, latent_before = param.clone(), latent.clone()
    weights.retract(param)
    # What rounding may do to a power, of weights of which the largest of a neuron are near 1.
    tolerance = max(1e-4, 8 * torch.finfo(param.dtype).eps)
    stays = bool(((param - before) * mask).abs().max() <= tolerance)  # False for NaN
    param.copy_(before)
    latent.copy_(latent_before)
    if not stays:  # off the mask a latent tensor may have values of its own
        latent.copy_(torch.where(mask != 0, weights.to_latent(param, param.detach()), latent))
        weights.retract(param)
        param.mul_(mask)
    return not stays
