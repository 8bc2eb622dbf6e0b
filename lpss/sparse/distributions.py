"""How many weights each layer keeps, for a total sparsity: uniform, ER (Mocanu et al. 2018), ERK (Evci et al. 2020)."""

import math
from collections.abc import Mapping, Sequence

from lpss.errors import UsageError

DISTRIBUTIONS = ("uniform", "er", "erk")


def active_counts(
    shapes: Mapping[str, Sequence[int]],
    sparsity: float,
    distribution: str,
    blocks: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Layer name -> number of active weights; the counts add up to round((1 - sparsity) * total) exactly.

    Args:
        shapes: layer name -> weight shape (outputs, inputs, *kernel).
        sparsity: over all given layers, in [0, 1).
        distribution: `uniform` (the same density everywhere), `er` (density ~ (inputs + outputs) / (inputs * outputs))
            or `erk` (the kernel's sides count too). Layers whose density would pass 1 are dense and the others
            share what remains. RigL's authors keep the first layer dense with `uniform`; here that takes
            mask.exclude=[stem].
        blocks: layer name -> how many matrices are packed on top of each other in it, such as the gates of an LSTM: its
            density is that of one of them. 1 where None.
    """
    check_distribution(distribution)
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity must be in [0, 1), got {sparsity}")
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = round((1 - sparsity) * sum(sizes.values()))
    raw = {
        name: _raw_density((shape[0] // (blocks or {}).get(name, 1), *shape[1:]), distribution)
        for name, shape in shapes.items()
    }
    return _round_exactly(_scale(raw, sizes, total), sizes, total)


def allot(shares: Mapping[str, float], total: int, caps: Mapping[str, int]) -> dict[str, int]:
    """Layer name -> its part of `total`, in proportion to `shares` (>= 0; all alike where none is above 0).

    Whole numbers that add up to `total` exactly, or to all caps where these are less. What a layer cannot take beyond
    its cap is spread evenly over those that can.
    """
    total = min(total, sum(caps.values()))
    positive = {name: share if share > 0 else 0.0 for name, share in shares.items()}  # NaN counts as 0, too
    whole = sum(positive.values())
    if not 0 < whole < math.inf:
        positive, whole = dict.fromkeys(shares, 1.0), float(len(shares))
    wanted = {name: total * share / whole for name, share in positive.items()}
    while True:
        over = sum(max(0.0, wanted[name] - caps[name]) for name in wanted)
        wanted = {name: min(value, caps[name]) for name, value in wanted.items()}
        room = [name for name, value in wanted.items() if value < caps[name]]
        if over < 1e-6 or not room:
            return _round_exactly(wanted, dict(caps), total)
        for name in room:
            wanted[name] += over / len(room)


def check_distribution(name: str) -> None:
    """Raises UsageError for a name that is not in `DISTRIBUTIONS`."""
    if name not in DISTRIBUTIONS:
        raise UsageError(f"method.distribution: unknown layer distribution {name!r}; known: {', '.join(DISTRIBUTIONS)}")


def _raw_density(shape: Sequence[int], distribution: str) -> float:
    if distribution == "uniform":
        return 1.0
    dims = shape if distribution == "erk" else shape[:2]
    return sum(dims) / math.prod(dims)


def _scale(raw: dict[str, float], sizes: dict[str, int], total: int) -> dict[str, float]:
    """Scale raw densities so that the kept weights add up to total; layers capped at 1 pass on their surplus."""
    dense: set[str] = set()
    while True:
        open_layers = [name for name in raw if name not in dense]
        if not open_layers:
            return {name: float(sizes[name]) for name in raw}
        budget = total - sum(sizes[name] for name in dense)
        scale = budget / sum(raw[name] * sizes[name] for name in open_layers)
        capped = {name for name in open_layers if scale * raw[name] > 1}
        if not capped:
            return {name: float(sizes[name]) if name in dense else scale * raw[name] * sizes[name] for name in raw}
        dense |= capped


def _round_exactly(wanted: dict[str, float], sizes: dict[str, int], total: int) -> dict[str, int]:
    """Whole numbers, rounded by largest remainder so that their sum is exact."""
    counts = {name: min(math.floor(value + 1e-9), sizes[name]) for name, value in wanted.items()}
    by_remainder = sorted(wanted, key=lambda name: wanted[name] - counts[name], reverse=True)
    missing = total - sum(counts.values())
    for name in by_remainder:
        if missing > 0 and counts[name] < sizes[name]:
            counts[name] += 1
            missing -= 1
    return counts
