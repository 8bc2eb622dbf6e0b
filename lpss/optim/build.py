"""How an `optimizer` config becomes an optimizer for a net."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lpss.errors import UsageError
from lpss.registries import OPTIMIZERS


def build_optimizer(
    net: nn.Module, values: Mapping, *, exclude: Sequence[str], sparsity: float
) -> torch.optim.Optimizer:
    """The optimizer that an `optimizer` config describes, over all of the net's trainable parameters.

    Args:
        net: any module.
        values: the config: `name` and any fields of that optimizer's `Config`.
        exclude: roles or name patterns of layers that stay off the sphere.
        sparsity: the requested sparsity in [0, 1), for a `p` that depends on it.

    Raises UsageError for unknown names, options, or values out of range.
    """
    recipe, config = OPTIMIZERS.find(values["name"]), OPTIMIZERS.options(values)
    try:
        return recipe.build(net, config, exclude=exclude, sparsity=sparsity)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"optimizer={values['name']}: {error}") from None
