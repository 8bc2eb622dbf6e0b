"""A net's parameters as optimizer groups: weights on the sphere with their p, everything else plain SGD."""

from collections.abc import Sequence

from torch import nn

from lpss.roles import check_selectors, resolve_rule, rule_selectors, weight_layers


def layer_p(net: nn.Module, p, *, exclude: Sequence[str] = ("head",), sparsity: float = 0.0) -> dict[str, float | None]:
    """Layer name -> p (None = off the sphere), by a rule on roles or names (see `roles.resolve_rule`).

    `exclude` lists roles or name patterns that stay off the sphere; the head does by default, since its scale is what
    makes predictions confident. Raises UsageError for a rule or selector that fits nothing.
    """
    layers = weight_layers(net)
    check_selectors(exclude, layers, "sphere.exclude")
    check_selectors(rule_selectors(p), layers, "optimizer.p")
    return {
        layer.name: None if p is None or layer.matches(exclude) else resolve_rule(p, layer, sparsity, "optimizer.p")
        for layer in layers
    }


def param_groups(
    net: nn.Module,
    p,
    *,
    exclude: Sequence[str] = ("head",),
    lr_free: float | None = None,
    weight_decay: float = 0.0,
    sparsity: float = 0.0,
) -> list[dict]:
    """Groups for LpSGD, LpSGD-m or (with p=None) any SGD: one group per value of p, then the free parameters.

    Args:
        p: a number, None, or a rule by role, name pattern or sparsity.
        exclude: roles or name patterns that stay off the sphere.
        lr_free: learning rate of everything off the sphere; the optimizer's own lr where None.
        weight_decay: on weights off the sphere; biases and normalisation parameters have none.
        sparsity: the requested sparsity, for rules by sparsity.

    Raises UsageError for a rule or selector that fits nothing.
    """
    on_sphere: dict[float, list] = {}
    placed = set()
    layers = {layer.name: layer for layer in weight_layers(net)}
    for name, value in layer_p(net, p, exclude=exclude, sparsity=sparsity).items():
        weight = layers[name].weight
        if value is not None and weight.requires_grad and id(weight) not in placed:
            on_sphere.setdefault(float(value), []).append(weight)
            placed.add(id(weight))
    free = [param for param in net.parameters() if param.requires_grad and id(param) not in placed]
    off_sphere = {"p": None} | ({} if lr_free is None else {"lr": lr_free})
    groups = [{"params": params, "p": value, "weight_decay": 0.0} for value, params in sorted(on_sphere.items())]
    for members, decay in (([x for x in free if x.dim() > 1], weight_decay), ([x for x in free if x.dim() < 2], 0.0)):
        if members:
            groups.append({"params": members, "weight_decay": decay} | off_sphere)
    return groups
