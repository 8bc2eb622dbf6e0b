"""Which of a net's layers are masked, which stay dense, and why."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torch import nn

from lpss.errors import UsageError
from lpss.layers import ASKED_ROLES, Layer, Selector, all_layers, nothing_to_mask, unwrap
from lpss.roles import check_selectors


@dataclass(frozen=True)
class Entry:
    """A layer and why it stays dense; None if it is masked."""

    layer: Layer
    reason: str | None

    @property
    def weights(self) -> int:
        """How many the layer has."""
        return self.layer.shape.numel()


class Coverage:
    """What masks cover of a net. `print` it for a table.

    entries: the net's layers, and its other parameters of two or more dims. parameters: number of all of the net's
    parameters, biases and normalisation included.
    """

    def __init__(self, entries: list[Entry], parameters: int):
        self.entries, self.parameters = entries, parameters

    @property
    def masked(self) -> list[Layer]:
        """The layers with a mask, in order of definition."""
        return [entry.layer for entry in self.entries if entry.reason is None]

    @property
    def dense(self) -> dict[str, str]:
        """Name of a layer that stays dense -> why."""
        return {entry.layer.name: entry.reason for entry in self.entries if entry.reason is not None}

    @property
    def share(self) -> float:
        """Weights that can be masked / all parameters of the net."""
        return sum(layer.shape.numel() for layer in self.masked) / max(self.parameters, 1)

    def line(self) -> str:
        """In one line: how much is masked, and what is not."""
        weights = sum(layer.shape.numel() for layer in self.masked)
        names: dict[str, list[str]] = {}
        for name, reason in self.dense.items():
            names.setdefault(reason, []).append(name)
        dense = "; ".join(f"{_few(layers)} ({reason})" for reason, layers in names.items())
        covered = f"{weights:,} of {self.parameters:,} parameters ({self.share:.1%})"
        line = f"masks cover {len(self.masked)} of {len(self.entries)} layers, {covered}"
        return f"{line}; dense: {dense}" if dense else line

    def __str__(self) -> str:
        rows = [("layer", "role", "type", "shape", "weights", "masked")]
        for entry in self.entries:
            layer, shape = entry.layer, "x".join(map(str, entry.layer.shape))
            kind = type(layer.module).__name__
            masked = "yes" if entry.reason is None else f"no: {entry.reason}"
            rows.append((layer.name, layer.role, kind, shape, f"{entry.weights:,}", masked))
        rest = self.parameters - sum(entry.weights for entry in self.entries)
        rows.append(("biases, norms and the like", "", "", "", f"{rest:,}", "no"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self.line().partition("; dense: ")[0]])


def cover(
    net: nn.Module,
    *,
    include: Iterable[Selector] = (),
    exclude: Iterable[Selector] = (),
    held: Collection[int] | None = None,
    key: str = "mask",
) -> Coverage:
    """Decide for every layer of a net whether it is masked.

    Args:
        include: roles, types or name patterns of layers that are masked only when asked for.
        exclude: the same, of layers that are not masked; stronger than `include`.
        held: ids of the parameters that the optimizer moves; None for all.
        key: of the settings that errors name.

    Raises UsageError for a selector that matches nothing, and for one in `include` that cannot be masked.
    """
    include, exclude = _list(include, f"{key}.include"), _list(exclude, f"{key}.exclude")
    layers = all_layers(net)
    if not include and all(layer.role in ASKED_ROLES for layer in layers):
        raise nothing_to_mask(net)
    check_selectors(include, layers, f"{key}.include")
    check_selectors(exclude, layers, f"{key}.exclude")
    for selector in include:
        hopeless = [layer for layer in layers if layer.matches([selector]) and layer.obstacle and not layer.asked]
        if hopeless and not any(layer.matches([selector]) and layer not in hopeless for layer in layers):
            raise UsageError(
                f"{key}.include: {selector!r} cannot be masked ({hopeless[0].name}: {hopeless[0].obstacle})"
            )

    def reason(layer: Layer) -> str | None:
        for selector in exclude:
            if layer.matches([selector]):
                return f"excluded by {selector if isinstance(selector, str) else selector.__name__!r}"
        if not layer.parameter.requires_grad:
            return "frozen"
        if layer.obstacle and not (layer.asked and layer.matches(include)):
            return layer.obstacle
        if held is not None and id(layer.parameter) not in held:
            return "not in the optimizer"

    entries = [Entry(layer, reason(layer)) for layer in layers]
    return Coverage(entries, sum(param.numel() for param in unwrap(net).parameters()))


def _few(names: list[str]) -> str:
    return ", ".join(names if len(names) < 5 else [*names[:3], f"{len(names) - 3} more"])


def _list(selectors: Iterable[Selector], key: str) -> list[Selector]:
    if isinstance(selectors, (str, type)):
        raise UsageError(f"{key} must be a list of names, got {selectors!r}")
    return list(selectors)
