"""A net's parameters as optimizer groups: weights on the sphere with their p, everything else plain SGD."""

from collections.abc import Sequence

from torch import nn

from lpss.coverage import cover
from lpss.layers import Layer, Selector
from lpss.roles import check_selectors, resolve_rule, rule_selectors


def layer_p(
    net: nn.Module,
    p,
    *,
    exclude: Sequence[Selector] = ("head",),
    include: Sequence[Selector] = (),
    sparsity: float = 0.0,
) -> dict[str, float | None]:
    """Layer name -> p (None = off the sphere), by a rule on roles or names (see `roles.resolve_rule`).

    `exclude` lists roles, types or name patterns that stay off the sphere; the head does by default, since its scale is
    what makes predictions confident. `include` lists layers that are on it only when asked for: embeddings, bare
    parameters, weights that several modules share. Raises UsageError for a rule or selector that fits nothing.
    """
    return {layer.name: value for layer, value in layers_with_p(net, p, exclude, include, sparsity)}


def layers_with_p(
    net: nn.Module, p, exclude: Sequence[Selector], include: Sequence[Selector], sparsity: float
) -> list[tuple[Layer, float | None]]:
    """Each layer with its p; see `layer_p`."""
    coverage = cover(net, include=include, exclude=exclude, key="sphere")
    layers = [entry.layer for entry in coverage.entries if entry.reason is None or not entry.layer.asked]
    check_selectors(rule_selectors(p), layers, "optimizer.p")
    on_sphere = {layer.name for layer in coverage.masked}
    return [
        (layer, resolve_rule(p, layer, sparsity, "optimizer.p") if layer.name in on_sphere and p is not None else None)
        for layer in layers
    ]


def param_groups(
    net: nn.Module,
    p,
    *,
    exclude: Sequence[Selector] = ("head",),
    include: Sequence[Selector] = (),
    lr_free: float | None = None,
    weight_decay: float = 0.0,
    sparsity: float = 0.0,
) -> list[dict]:
    """Groups for LpSGD, LpSGD-m or (with p=None) any SGD: one group per value of p, then the free parameters.

    Args:
        p: a number, None, or a rule by role, name pattern or sparsity.
        exclude, include: as for `layer_p`.
        lr_free: learning rate of everything off the sphere; the optimizer's own lr where None.
        weight_decay: on weights off the sphere; biases and normalisation parameters have none.
        sparsity: the requested sparsity, for rules by sparsity.

    Raises UsageError for a rule or selector that fits nothing.
    """
    on_sphere: dict[tuple[float, int], list] = {}
    for layer, value in layers_with_p(net, p, exclude, include, sparsity):
        if value is not None:
            on_sphere.setdefault((float(value), layer.neuron_dim), []).append(layer.parameter)
    placed = {id(param) for params in on_sphere.values() for param in params}
    free = [param for param in net.parameters() if param.requires_grad and id(param) not in placed]
    off_sphere = {"p": None} | ({} if lr_free is None else {"lr": lr_free})
    groups = [
        {"params": params, "p": value, "weight_decay": 0.0} | ({"neuron_dim": dim} if dim else {})
        for (value, dim), params in sorted(on_sphere.items(), key=lambda item: item[0])
    ]
    for members, decay in (([x for x in free if x.dim() > 1], weight_decay), ([x for x in free if x.dim() < 2], 0.0)):
        if members:
            groups.append({"params": members, "weight_decay": decay} | off_sphere)
    return groups
