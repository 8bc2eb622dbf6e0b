"""weights.safetensors and layers.csv: what a trained net is, as files."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lpss.errors import DataError
from lpss.optim.gain import without_gains
from lpss.sparse.methods import Method
from lpss.train import sealed
from lpss.train.description import Description


def save_weights(path: Path, net: nn.Module, method: Method, description: Description | None = None) -> None:
    """Write the net's state dict as `net.<key>`, the masks as `mask.<layer>` (bool), and the description.

    Of a compiled net under the names of the net itself, and with gains multiplied into their weights. Raises LpssError.
    """
    masks = method.masks.state_dict()
    state = with_plain_zeros(without_gains(net), masks)
    tensors = {f"net.{key}": value for key, value in state.items()}
    tensors |= {f"mask.{name}": mask for name, mask in masks.items()}
    sealed.write(path, tensors, {} if description is None else {"description": description.to_dict()})


def weight_key(layer: str, mask: Tensor, state: Mapping[str, Tensor]) -> str | None:
    """The state dict's key of the weight that a layer's mask is of; None where it is computed from other tensors."""
    keys = (
        f"{layer}.weight".lstrip("."),
        layer,
    )  # a layer that is one of several in its module is called as its weight
    return next((key for key in keys if key in state and state[key].shape == mask.shape), None)


def with_plain_zeros(state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with 0 for every -0 off a mask, which negative weights leave and sparse files do not keep."""
    state = dict(state)
    for layer, mask in masks.items():
        if (key := weight_key(layer, mask, state)) is not None:
            state[key] = torch.where(mask | (state[key] != 0), state[key], 0)
    return state


def load_weights(path: Path | str, net: nn.Module) -> dict[str, Tensor]:
    """Load a run's weights.safetensors into `net`; returns the masks (layer name -> bool). Raises DataError."""
    try:
        state, masks = unpack(load_file(path))
        net.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{path} does not hold this net's weights: {str(error).splitlines()[0]}") from None
    return masks


def unpack(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(the net's state dict, layer name -> mask) of the tensors that `save_weights` has written."""
    return tuple(
        {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        for prefix in ("net.", "mask.")
    )


def layer_rows(method: Method, p: dict[str, float | None]) -> list[dict]:
    """A dict a maskable layer, with the fields of layers.csv; `p`: layer name -> p of its sphere, None for off it."""
    active, empty, requested = method.masks.active(), method.masks.empty_neurons(), method.requested_density()
    hoyer = {name: float(neurons.nanmean()) for name, neurons in method.masks.hoyer_sparsity().items()}
    rows = []
    for name, layer in method.masks.layers.items():
        weight = layer.weight.detach()
        density = active[name] / weight.numel()
        rows.append(
            {
                "layer": name,
                "role": layer.role,
                "shape": "x".join(map(str, weight.shape)),
                "p": p.get(name),
                "weights": weight.numel(),
                "active": active[name],
                "density_requested": requested[name],
                "density_reached": density,
                "sparsity_reached": 1 - density,
                "hoyer_sparsity": hoyer.get(name, math.nan),
                "empty_neurons": empty[name],
            }
        )
    return rows
