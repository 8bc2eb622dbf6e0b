"""Masks, applied in place: a masked weight is itself zero.

So the forward pass costs nothing extra, a weight's gradient right after backward is the dense gradient, and no
optimizer needs to know about masks: gradients are multiplied by the mask before its step and its state is zero off the
mask.
"""

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from lpss import sphere
from lpss.active import active_entries
from lpss.coverage import Coverage, cover
from lpss.errors import UsageError
from lpss.layers import Layer, Selector


class Masks(Mapping):
    """Layer name -> mask (0 or 1, in the dtype of the layer's weight, neurons first), starting dense.

    Args:
        net: any module; which of its layers are masked is told by `coverage` (see lpss/layers.py).
        exclude: roles, types or name patterns of layers that are never masked.
        include: the same, of layers that are masked only when asked for.
        held: ids of the parameters that the optimizer moves; the others stay dense. None for all.

    Raises UsageError for a selector that matches nothing, if no layer is left, or for an accelerated net.
    """

    def __init__(
        self,
        net: nn.Module,
        exclude: Iterable[Selector] = (),
        include: Iterable[Selector] = (),
        held: Collection[int] | None = None,
    ):
        self.coverage: Coverage = cover(net, include=include, exclude=exclude, held=held)
        self.layers: dict[str, Layer] = {layer.name: layer for layer in self.coverage.masked}
        if not self.layers:
            dense = "; ".join(f"{name}: {reason}" for name, reason in self.coverage.dense.items())
            raise UsageError(f"mask.exclude={list(exclude)} leaves no trainable layer to mask ({dense})")
        if any(active_entries(layer.parameter) is not None for layer in self.layers.values()):
            raise UsageError(
                "the net keeps its active weights alone (lpss.accelerate): call undo() before another method is made "
                "for it, or before it is copied"
            )
        # None of a layer that holds its active entries alone: they tell the mask.
        self._masks: dict[str, Tensor | None]
        self._masks = {name: torch.ones_like(layer.weight) for name, layer in self.layers.items()}
        self._pair()
        self._versions: list[int] = []
        self.note_weights()

    def _pair(self) -> None:
        """Every parameter with its mask in the parameter's own layout."""
        self._pairs = [(layer.parameter, self._view(name)) for name, layer in self.layers.items()]

    def _view(self, name: str) -> Tensor | None:
        mask = self._masks[name]
        return None if mask is None else self.layers[name].view(mask)

    def __getitem__(self, name: str) -> Tensor:
        mask = self._masks[name]
        if mask is None:
            parameter = self.layers[name].parameter
            return active_entries(parameter).expand(torch.ones_like(parameter))
        return mask

    def release(self, name: str) -> None:
        """Keep no mask of a layer whose parameter holds its active entries alone (lpss/active.py)."""
        self._keep(name, None)

    @torch.inference_mode(False)
    def restore(self, name: str) -> None:
        """Keep the layer's mask again; call it before its parameter is made whole."""
        self._keep(name, self[name])

    def _keep(self, name: str, mask: Tensor | None) -> None:
        self._masks[name] = mask
        index = list(self._masks).index(name)
        self._pairs[index] = (
            self._pairs[index][0],
            self._view(name),
        )  # the weight that was masked: `changed` looks at it

    def __iter__(self):
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    @torch.no_grad()
    def update(self, name: str, active: Tensor, optimizer=None, keep: Iterable[str] = ()) -> None:
        """Make `active` (bool) the layer's mask: zero the weight off it, and the optimizer's state of connections that
        are new or gone. `keep` names state tensors to leave as they are.
        """
        mask, layer = self._masks[name], self.layers[name]
        parameter = layer.parameter
        new = active.to(mask.dtype)
        stays = layer.view(mask * new)  # where both masks are 0, the state is zero already
        mask.copy_(new)
        parameter.mul_(layer.view(mask))
        for key, value in (optimizer.state.get(parameter, {}) if optimizer is not None else {}).items():
            if torch.is_tensor(value) and value.shape == parameter.shape and key not in keep:
                value.mul_(stays)

    def apply_to_all(self, optimizer, keep: Iterable[str] = ()) -> None:
        """Zero every weight and the optimizer's state off the masks, but for state tensors named in `keep`."""
        for name, mask in self._masks.items():
            self.update(name, mask.bool(), optimizer, keep)

    def _whole(self) -> list[tuple[Tensor, Tensor]]:
        """(weight, mask) of the weights that can be something else than zero off the mask."""
        return [pair for pair in self._pairs if pair[1] is not None]

    @torch.no_grad()
    def apply_to_weights(self) -> None:
        """Zero every maskable weight off its mask."""
        if pairs := self._whole():
            torch._foreach_mul_(*map(list, zip(*pairs, strict=True)))

    @torch.no_grad()
    def apply_to_gradients(self) -> None:
        """Zero every maskable weight's gradient off its mask."""
        pairs = [(grad, mask) for weight, mask in self._whole() if (grad := weight.grad) is not None]
        if pairs:
            torch._foreach_mul_(*map(list, zip(*pairs, strict=True)))

    # --- what is true of the net --------------------------------------------------------------------------------

    def note_weights(self) -> None:
        """Take the weights as they are now for what training has made of them; see `changed`."""
        self._versions = [weight._version for weight, _ in self._pairs]

    def forget_weights(self) -> None:
        """Have `changed` name every layer."""
        self._versions = [-1] * len(self._pairs)

    def changed(self) -> list[str]:
        """Names of layers whose weights something has written to since `note_weights`, as far as torch counts it:
        writing through `.data` goes unnoticed. Masks follow weights to their device and dtype.

        Raises UsageError where a weight is no longer the net's.
        """
        changed, moved = [], False
        for (name, layer), (weight, mask), version in zip(
            self.layers.items(), self._pairs, self._versions, strict=True
        ):
            if not layer.still_holds(weight):
                raise UsageError(
                    f"layer {name!r} has another weight than when it was masked: replace layers, and load weights with "
                    "assign=True, before the optimizer and the method are made"
                )
            if weight._version != version:
                changed.append(name)
            if mask is not None and (weight.device != mask.device or weight.dtype != mask.dtype):
                self._masks[name] = self._masks[name].to(weight)
                moved = True
        if moved:
            self._pair()
        return changed

    @torch.no_grad()
    def off_mask(self) -> dict[str, int]:
        """Layer name -> number of weights off its mask that are not zero (reads the device once)."""
        counts = [
            torch.zeros((), dtype=torch.long, device=weight.device)
            if mask is None
            else (weight.ne(0) & mask.eq(0)).sum()
            for weight, mask in self._pairs
        ]
        return dict(zip(self, torch.stack(counts).tolist(), strict=True))

    def active(self) -> dict[str, int]:
        """Layer name -> number of active weights (reads the device)."""
        # Row by row first: exact in float32, and faster than float64 throughout.
        counts = torch.stack(
            [
                torch.tensor(weight.numel(), dtype=torch.float64, device=weight.device)
                if mask is None
                else mask.flatten(1).float().sum(1).sum(dtype=torch.float64)
                for (weight, _), mask in zip(self._pairs, self._masks.values(), strict=True)
            ]
        ).tolist()
        return {name: int(count) for name, count in zip(self._masks, counts, strict=True)}

    @property
    def maskable(self) -> int:
        """Number of weights that can be masked."""
        return sum(layer.shape.numel() for layer in self.layers.values())

    def masked_share(self) -> float:
        """Masked / maskable weights, whatever the weights are."""
        return 1.0 - sum(self.active().values()) / self.maskable

    def sparse_weights(self) -> int:
        """Number of maskable weights that are masked and zero, counted on the net (reads the device).

        Raises UsageError where a weight is no longer the net's.
        """
        self.changed()
        return self.maskable - sum(self.active().values()) - sum(self.off_mask().values())

    def sparsity_weights(self) -> float:
        """Weights that are masked and zero / maskable weights: the sparsity that is requested and reported."""
        return 1.0 - (self.maskable - self.sparse_weights()) / self.maskable

    def sparsity_all_parameters(self) -> float:
        """The same number / all parameters of the net (biases, normalisation and unmasked layers included)."""
        return self.sparse_weights() / self.coverage.parameters

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
        return {name: int((mask.flatten(1).sum(1) == 0).sum()) for name, mask in self.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Layer name -> bool mask in the shape of the parameter."""
        return {name: layer.view(self[name]).bool() for name, layer in self.layers.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Weights stay as they are. Raises UsageError for masks of other layers."""
        for name, layer in self.layers.items():
            if name not in state or state[name].shape != layer.shape:
                raise UsageError(f"the saved masks are another net's: none for {name!r} of {tuple(layer.shape)}")
        for name, layer in self.layers.items():
            self._masks[name].copy_(layer.view(state[name]))
