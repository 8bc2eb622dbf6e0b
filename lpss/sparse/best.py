"""The best weights of a training, kept with the masks they were trained under."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lpss.errors import UsageError
from lpss.layers import unwrap
from lpss.sparse.methods.base import Method


class BestWeights:
    """A copy of the net's state and masks at its best score so far.

        best = lpss.BestWeights(net, method)
        for epoch in range(epochs):
            train(...)
            best.update(validation_accuracy(net))   # higher is better: of a loss give -loss
        best.restore()

    Weights alone would not do: those of an earlier epoch have zeros and values elsewhere than the masks of now.
    """

    def __init__(self, net: nn.Module, method: Method):
        self.net, self.method = unwrap(net), method
        self.score = -math.inf
        self.weights: dict[str, Tensor] | None = None
        self.masks: dict[str, Tensor] | None = None
        self.unmasked: dict[str, dict[str, Tensor]] = {}  # layer -> optimizer state that no mask hides

    def update(self, score: float) -> bool:
        """Keep the net as it is now if the score is higher than any before; returns whether it is. NaN never is."""
        if not float(score) > self.score:
            return False
        self.method.repair()
        self.score = float(score)
        self.weights = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
        self.masks = {name: mask.clone() for name, mask in self.method.masks.state_dict().items()}
        self.unmasked = {
            name: {key: state[key].clone() for key in self.method.unmasked_state if key in state}
            for name, state in self._optimizer_states()
        }
        return True

    def _optimizer_states(self) -> Iterator[tuple[str, dict]]:
        for name, layer in self.method.masks.layers.items():
            yield name, self.method.optimizer.state[layer.parameter]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the best weights back into the net, and their masks into the method. Training can go on from there.

        Raises UsageError where there was no `update`.
        """
        if self.weights is None:
            raise UsageError("there are no best weights yet: call update(score) first")
        self.net.load_state_dict(self.weights)
        for name, state in self._optimizer_states():
            for key, value in self.unmasked[name].items():
                state[key].copy_(value)
        self.method.take_masks(self.masks)

    def state_dict(self) -> dict:
        """For a checkpoint: tensors and plain values."""
        return {"score": self.score, "weights": self.weights, "masks": self.masks, "unmasked": self.unmasked}

    def load_state_dict(self, state: dict) -> None:
        """Take back what `state_dict` gave; the net stays as it is until `restore`."""
        self.score, self.weights = state["score"], state["weights"]
        self.masks, self.unmasked = state["masks"], state["unmasked"]
