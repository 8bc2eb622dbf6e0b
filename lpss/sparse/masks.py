"""Masks, applied in place: a masked weight is itself zero.

So the forward pass costs nothing extra, `weight.grad` right after backward is the dense gradient, and no optimizer
needs to know about masks: gradients are multiplied by the mask before its step and its state is zero off the mask.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lpss import sphere
from lpss.errors import UsageError
from lpss.roles import Layer, check_selectors, weight_layers


class Masks(Mapping):
    """Layer name -> mask (0 or 1, in the weight's shape and dtype), starting dense.

    Args:
        net: any module; its Linear and Conv weights are maskable, unless they are frozen (requires_grad=False).
        exclude: roles or name patterns of layers that are never masked.

    Raises UsageError for a selector that matches nothing, or if no layer is left.
    """

    def __init__(self, net: nn.Module, exclude: Iterable[str] = ()):
        exclude = list(exclude)
        layers = weight_layers(net)
        check_selectors(exclude, layers, "mask.exclude")
        self.layers: dict[str, Layer] = {
            layer.name: layer for layer in layers if layer.weight.requires_grad and not layer.matches(exclude)
        }
        if not self.layers:
            raise UsageError(f"mask.exclude={exclude} leaves no trainable layer to mask")
        self._masks = {name: torch.ones_like(layer.weight) for name, layer in self.layers.items()}
        self._pairs = [(layer.weight, self._masks[name]) for name, layer in self.layers.items()]
        self._parameters = sum(param.numel() for param in net.parameters())

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self):
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    @torch.no_grad()
    def update(self, name: str, active: Tensor, optimizer=None, keep: Iterable[str] = ()) -> None:
        """Make `active` (bool) the layer's mask: zero the weight off it, and the optimizer's state of connections that
        are new or gone. `keep` names state tensors to leave as they are.
        """
        mask, weight = self._masks[name], self.layers[name].weight
        new = active.to(mask.dtype)
        stays = mask * new  # where both masks are 0, the state is zero already
        mask.copy_(new)
        weight.mul_(mask)
        for key, value in (optimizer.state.get(weight, {}) if optimizer is not None else {}).items():
            if torch.is_tensor(value) and value.shape == weight.shape and key not in keep:
                value.mul_(stays)

    @torch.no_grad()
    def apply_to_weights(self) -> None:
        """Zero every maskable weight off its mask."""
        for name, mask in self._masks.items():
            self.layers[name].weight.mul_(mask)

    @torch.no_grad()
    def apply_to_gradients(self) -> None:
        """Zero every maskable weight's gradient off its mask."""
        pairs = [(grad, mask) for weight, mask in self._pairs if (grad := weight.grad) is not None]
        if pairs:
            torch._foreach_mul_(*map(list, zip(*pairs, strict=True)))

    def active(self) -> dict[str, int]:
        """Layer name -> number of active weights (reads the device)."""
        # Row by row first: exact in float32, and faster than float64 throughout.
        counts = torch.stack(
            [mask.flatten(1).sum(1).sum(dtype=torch.float64) for mask in self._masks.values()]
        ).tolist()
        return {name: int(count) for name, count in zip(self._masks, counts, strict=True)}

    @property
    def maskable(self) -> int:
        """Number of weights that can be masked."""
        return sum(mask.numel() for mask in self._masks.values())

    def sparsity_weights(self) -> float:
        """Masked / maskable weights: the sparsity that is requested and reported."""
        return 1.0 - sum(self.active().values()) / self.maskable

    def sparsity_all_parameters(self) -> float:
        """Masked weights / all parameters of the net (biases, normalisation and unmasked layers included)."""
        return (self.maskable - sum(self.active().values())) / self._parameters

    @torch.no_grad()
    def hoyer_sparsity(self) -> dict[str, Tensor]:
        """Layer name -> Hoyer's sparsity (eq 2) of each neuron, (neurons,), NaN for an empty one.

        Layers of fan-in 1, where it is not defined, are left out.
        """
        weights = {name: layer.weight.detach().float() for name, layer in self.layers.items()}
        return {name: sphere.hoyer_sparsity(weight) for name, weight in weights.items() if weight[0].numel() > 1}

    def mean_hoyer_sparsity(self) -> float:
        """The mean over all neurons that are not empty (reads the device)."""
        neurons = list(self.hoyer_sparsity().values())
        return float(torch.cat(neurons).nanmean()) if neurons else math.nan

    def empty_neurons(self) -> dict[str, int]:
        """Layer name -> number of neurons without an active weight (reads the device)."""
        return {name: int((mask.flatten(1).sum(1) == 0).sum()) for name, mask in self._masks.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Layer name -> bool mask."""
        return {name: mask.bool() for name, mask in self._masks.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises KeyError for a missing layer."""
        for name, mask in self._masks.items():
            mask.copy_(state[name])
