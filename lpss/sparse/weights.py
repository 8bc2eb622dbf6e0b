"""Weights under masks: changed together with the optimizer's state, wherever they are kept."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

from lpss.errors import UsageError
from lpss.optim.protocol import follow, latent_weights
from lpss.sparse.gradients import DenseGradients
from lpss.sparse.masks import Masks
from lpss.sparse.select import without_empty_rows

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What keeps some of a net's weights as their active entries alone (lpss/engine)."""

    def open(self) -> None:
        """Make all weights whole."""

    def close(self) -> None:
        """Let them hold their active entries alone again, as the masks are now."""

    def settle(self) -> None:
        """As `close`, for weights that have been loaded."""

    def suspended(self) -> AbstractContextManager:
        """Within it the net is as it would be without."""


class MaskedWeights:
    """What can be done to masks, weights and gradients, the same for every method and optimizer.

    Args:
        masks: of a net.
        optimizer: that moves its weights.
    """

    unmasked_state: tuple[str, ...] = ()  # optimizer state that a changed mask does not reset

    def __init__(self, masks: Masks, optimizer: torch.optim.Optimizer):
        self.masks, self.optimizer = masks, optimizer
        self.gradients = DenseGradients(masks)
        self.engine: Engine | None = None
        self.steps = 0  # that have been taken
        self._weights_are_dense = False  # within `dense_weights`
        self._unreached: set[str] = set()  # layers that are known to have no gradient

    def repair(self) -> int:
        """Zero weights off the masks, and read the latent tensors of weights that were written to from outside off
        them; returns how many weights were zeroed. Steps do so by themselves. (Reads the device.)

        Raises UsageError where a weight is no longer the net's.
        """
        self.masks.changed()
        return self._repair(list(self.masks))

    def _repair(self, names: list[str]) -> int:
        with self.dense_weights():
            wrong = sum(self.masks.off_mask().values())
            if wrong:
                log.warning(
                    "step %d: %d weights off the masks were not zero: something wrote to them", self.steps, wrong
                )
                self.masks.apply_to_weights()
            for name in names:
                layer = self.masks.layers[name]
                follow(self.optimizer, layer.parameter, layer.view(self.masks[name]))
        self.masks.note_weights()
        return wrong

    @torch.no_grad()
    def take_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Go on with other masks (as of `masks.state_dict()`) and the weights that the net has been given with them.

        The optimizer's state is zero off the masks afterwards, and its latent tensors are those of the weights. Raises
        UsageError for the masks of another net.
        """
        with self.dense_weights():
            self.masks.load_state_dict(masks)
            self.masks.apply_to_all(self.optimizer, self.unmasked_state)
        self.repair()

    @contextmanager
    def dense_weights(self) -> Iterator[None]:
        """Within it every weight, its gradient and its state are whole, also where an engine keeps active entries alone
        (`lpss.accelerate`)."""
        if self.engine is None or self._weights_are_dense:
            yield
            return
        self.engine.open()
        self._weights_are_dense = True
        try:
            yield
        finally:
            self._weights_are_dense = False
            self.engine.close()

    @torch.no_grad()
    def set_mask(self, name: str, active: Tensor, new_values: Tensor | None = None) -> None:
        """A layer's new mask (bool). New connections start at `new_values` (a weight tensor; zero where None), and
        neurons that live on a sphere go back on it."""
        with self.dense_weights():
            self._set_mask(name, active, new_values)

    def _set_mask(self, name: str, active: Tensor, new_values: Tensor | None) -> None:
        layer, mask, weights = self.masks.layers[name], self.masks[name], latent_weights(self.optimizer)
        parameter = layer.parameter
        if layer.divides:
            score = layer.weight.detach().abs().flatten(1)
            active = without_empty_rows(active.flatten(1), score).view_as(mask)
        new = active & ~mask.bool() if new_values is not None else None
        self.masks.update(name, active, self.optimizer, self.unmasked_state)
        if new_values is not None:
            latent, values = weights.latent(parameter), weights.to_latent(parameter, layer.view(new_values))
            latent.copy_(torch.where(layer.view(new), values, latent))
        weights.retract(parameter)
        parameter.mul_(layer.view(mask))  # a latent tensor that is not masked has values off the mask

    def gradient(self, name: str) -> Tensor:
        """The layer's dense gradient, in the shape of its mask; zero for a layer that the backward pass did not reach.

        Raises UsageError where backward has not been run, so that no layer has one.
        """
        grad = self.gradients.of(name)
        if grad is not None:
            return grad
        if all(self.gradients.of(other) is None for other in self.masks):
            raise UsageError("no layer has a gradient: call step() after a backward that reaches them")
        if name not in self._unreached:
            self._unreached.add(name)
            log.warning("layer %r has no gradient, as it is frozen or not used: it counts as zero", name)
        return torch.zeros_like(self.masks[name])

    @torch.no_grad()
    def rescale_neurons(self) -> None:
        """Multiply each neuron's weights by sqrt(fan-in / active fan-in), as if initialised for the inputs it has left
        (Evci et al. 2022): else activations shrink by sqrt(density) in every layer. Weights on the sphere stay there.
        """
        weights = latent_weights(self.optimizer)
        for name, layer in self.masks.layers.items():
            if weights.p_of(layer.parameter) is None:
                active = self.masks[name].flatten(1).sum(1).clamp(min=1)
                scale = (self.masks[name][0].numel() / active).sqrt()
                layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
