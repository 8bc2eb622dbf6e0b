"""The weight layers of a net and their roles, on which every per-layer rule (sphere, p, masks) is written.

Roles: `stem` reads the input, `head` gives the output, `shortcut` is the 1x1 conv beside a residual block, and the
rest is `conv` or `linear`. A module may say its own role with an attribute `role`; otherwise stem and head are the
first and the last weight layer in the order of `net.named_modules()`, which is the order of definition.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from lpss.errors import UsageError

ROLES = ("stem", "conv", "shortcut", "linear", "head")
COMPILED = "_orig_mod."  # in the names of what torch.compile has wrapped
_WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Layer:
    """A weight layer: its name in `named_modules()`, role and module."""

    name: str
    role: str
    module: nn.Module

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs, *kernel): a neuron is an entry of dim 0."""
        return self.module.weight

    def matches(self, selectors: Iterable[str]) -> bool:
        """Whether a selector is this layer's role or a pattern (`*` and `?`) of its name."""
        return any(selector == self.role or fnmatchcase(self.name, selector) for selector in selectors)


def weight_layers(net: nn.Module) -> list[Layer]:
    """Every Linear and Conv layer in order of definition; of layers that share a weight, the first alone.

    Names are those of the net as it was written: torch.compile's `_orig_mod.` is left out, so that rules, masks and
    files of a compiled net fit the net itself. Raises UsageError where there is none.
    """
    found, seen = [], set()
    for name, module in net.named_modules():
        if isinstance(module, _WEIGHT_LAYERS) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            found.append((name.replace(COMPILED, ""), module))
    if not found:
        raise UsageError(f"{type(net).__name__} has no Linear or Conv layer: there is nothing to make sparse")
    return [Layer(name, _role(module, index, len(found)), module) for index, (name, module) in enumerate(found)]


def _role(module: nn.Module, index: int, count: int) -> str:
    declared = getattr(module, "role", None)
    if declared is not None:
        if declared not in ROLES:
            raise UsageError(f"a layer's role is {declared!r}; known roles: {', '.join(ROLES)}")
        return declared
    if index == count - 1:
        return "head"
    if index == 0:
        return "stem"
    return "linear" if isinstance(module, nn.Linear) else "conv"


def check_selectors(selectors: Iterable[str], layers: Iterable[Layer], key: str) -> None:
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
