"""Rules on layers: by role, name pattern or type, as settings such as optimizer.p, mask.exclude and mask.include."""

from collections.abc import Iterable, Mapping

from lpss.errors import UsageError
from lpss.layers import ROLES, Layer, Selector


def check_selectors(selectors: Iterable[Selector], layers: Iterable[Layer], key: str) -> None:
    """Raises UsageError, naming the config key, for a selector that is no role and matches no layer."""
    layers = list(layers)
    for selector in selectors:
        if selector not in ROLES and not any(layer.matches([selector]) for layer in layers):
            names = ", ".join(layer.name for layer in layers)
            raise UsageError(f"{key}: {selector!r} is no role ({', '.join(ROLES)}) and matches no layer of: {names}")


def resolve_rule(rule, layer: Layer, sparsity: float, key: str) -> float | None:
    """A number for this layer from a rule such as optimizer.p.

    A rule is a number, None, a mapping from sparsities to rules (interpolated linearly between the two nearest and
    constant outside), or a mapping from roles or name patterns to rules, the first that matches, else `default`.
    Raises UsageError, naming the key, for anything else or where no entry matches.
    """
    if rule is None or (isinstance(rule, (int, float)) and not isinstance(rule, bool)):
        return rule
    if not isinstance(rule, Mapping) or not rule:
        raise UsageError(f"{key} must be a number or a mapping from sparsities, roles or layer names, got {rule!r}")
    by_sparsity = {_number(name): value for name, value in rule.items()}
    if None not in by_sparsity:
        return _interpolate(by_sparsity, layer, sparsity, key)
    if any(name is not None for name in by_sparsity):
        raise UsageError(f"{key} mixes sparsities with roles or layer names in one mapping: {dict(rule)!r}")
    for selector, value in rule.items():
        if selector != "default" and layer.matches([selector]):
            return resolve_rule(value, layer, sparsity, key)
    if "default" in rule:
        return resolve_rule(rule["default"], layer, sparsity, key)
    raise UsageError(f"{key} has no entry for layer {layer.name!r} (role {layer.role}) and no 'default'")


def rule_selectors(rule) -> list[str]:
    """The roles and name patterns that a rule mentions, at any depth."""
    if not isinstance(rule, Mapping):
        return []
    named = [str(name) for name in rule if name != "default" and _number(name) is None]
    return named + [selector for inner in rule.values() for selector in rule_selectors(inner)]


def _interpolate(table: Mapping[float, object], layer: Layer, sparsity: float, key: str) -> float | None:
    points = sorted(table)
    if sparsity in table or len(points) == 1 or not points[0] < sparsity < points[-1]:
        nearest = min(points, key=lambda point: abs(point - sparsity))
        return resolve_rule(table[nearest], layer, sparsity, key)
    right = next(point for point in points if point > sparsity)
    left = max(point for point in points if point < sparsity)
    low, high = (resolve_rule(table[point], layer, sparsity, key) for point in (left, right))
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise UsageError(f"{key} cannot be interpolated between {low} and {high}: add an entry for sparsity {sparsity}")
    return low + (high - low) * (sparsity - left) / (right - left)


def _number(name) -> float | None:
    try:
        return float(name)
    except (TypeError, ValueError):
        return None
