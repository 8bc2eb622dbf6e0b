"""A trained net made to compute from its active weights alone, without a method."""

from collections.abc import Mapping

from torch import Tensor, nn

from lpss.engine.modules import exchange, exchange_between, obstacle
from lpss.engine.pattern import Pattern
from lpss.engine.site import Site
from lpss.layers import weight_layers

DENSEST = 0.3  # a layer with a larger density is faster dense, at some batch sizes


def compute_sparse(net: nn.Module, masks: Mapping[str, Tensor], densest: float = DENSEST) -> list[str]:
    """Have the masked Linear and Conv2d layers of a net on the CPU compute from their active weights alone, in place;
    returns the names of those that do. `net.state_dict()` stays what it is.

    Args:
        masks: layer name -> where its weight is active, bool in the weight's shape. Other entries must be zero.
        densest: density up to which a layer is changed.
    """
    changed = []
    for layer in weight_layers(net):
        mask = masks.get(layer.name)
        if mask is None or obstacle(layer) or mask.count_nonzero() > densest * mask.numel():
            continue
        exchange(layer.module)
        layer.module.site = Site(layer.module, layer.name)
        layer.module.site.close(Pattern(mask))
        changed.append(layer.name)
    if changed:
        exchange_between(net)
    return changed
