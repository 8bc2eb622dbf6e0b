"""A gain beside the sphere: weight = gain x unit-norm weight, neuron by neuron, for nets that have a scale to keep.

Putting a trained net's weights on the sphere throws the norms of its neurons away, and with them what it has learned.
With a gain of that norm the net computes what it did before. The gain is a torch parametrization: optimizers and masks
see the unit-norm weights, modules see the product.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lpss import sphere
from lpss.errors import UsageError
from lpss.layers import Layer, Selector, plain_name
from lpss.optim.groups import layers_with_p


class Gain(nn.Module):
    """Parametrization: multiplies each neuron by its gain.

    gain: (neurons,). neuron_dim: the weight's dim that counts neurons. learned: whether it is a parameter.
    """

    def __init__(self, gain: Tensor, neuron_dim: int = 0, learned: bool = False):
        super().__init__()
        self.neuron_dim = neuron_dim
        if learned:
            self.gain = nn.Parameter(gain)
        else:
            self.register_buffer("gain", gain)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self._per_neuron(weight)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / self._per_neuron(weight)

    def _per_neuron(self, weight: Tensor) -> Tensor:
        shape = [1] * weight.dim()
        shape[self.neuron_dim] = -1
        return self.gain.view(shape)


@torch.no_grad()
def keep_scale(
    net: nn.Module,
    p,
    *,
    exclude: Sequence[Selector] = ("head",),
    include: Sequence[Selector] = (),
    sparsity: float = 0.0,
    learned: bool = False,
) -> list[str]:
    """Give every neuron that `param_groups(net, p, ...)` is about to put on a sphere its p-norm as a gain.

    Call it before the optimizer is made, with the same p, exclude, include and sparsity. What the net computes stays
    the same, now and on the sphere.

        lpss.keep_scale(net, p=1.5)
        optimizer = lpss.LpSGDm(lpss.param_groups(net, p=1.5), lr=0.02, p=None)

    `learned` gains are parameters off the sphere. Layers with weight_norm have a gain already. Returns the names of the
    layers that were given one. Raises UsageError for layers with another parametrization, and as `param_groups` does.
    """
    named = []
    for layer, value in layers_with_p(net, p, exclude, include, sparsity):
        if value is None or layer.divides:
            continue
        _check(layer)
        norm = sphere.row_norm(layer.weight.detach(), value).flatten()
        gain = Gain(torch.where(norm > 0, norm, 1.0).to(layer.parameter.dtype), layer.neuron_dim, learned)
        parametrize.register_parametrization(layer.module, layer.attribute, gain)
        named.append(layer.name)
    return named


def _check(layer: Layer) -> None:
    if layer.attribute not in layer.module._parameters or len(layer.aliases) > 0:
        why = "its weight is shared" if layer.aliases else "it has a parametrization"
        raise UsageError(f"layer {layer.name!r} cannot be given a gain: {why}; leave it off the sphere (exclude)")


def without_gains(net: nn.Module) -> dict[str, Tensor]:
    """The state dict of the net without gains: weights as its modules use them, under the names they had before."""
    state = {plain_name(key): value for key, value in net.state_dict().items()}
    for prefix, module in net.named_modules():
        for attribute, parts in getattr(module, "parametrizations", {}).items():
            if all(isinstance(part, Gain) for part in parts):
                name = plain_name(f"{prefix}.{attribute}".strip("."))
                own = plain_name(f"{prefix}.parametrizations.{attribute}.".lstrip("."))
                state = {key: value for key, value in state.items() if not key.startswith(own)}
                state[name] = getattr(module, attribute).detach()
    return state


def remove_gains(net: nn.Module) -> None:
    """Multiply every gain into its weight, for a net that is done with the sphere; the function stays the same.

    An optimizer or a method made before does not know the weights that the net has then.
    """
    for module in list(net.modules()):
        for attribute, parts in list(getattr(module, "parametrizations", {}).items()):
            if all(isinstance(part, Gain) for part in parts):
                parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)
