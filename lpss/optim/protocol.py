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
