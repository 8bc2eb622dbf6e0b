"""lpss-train --list [KIND ...]: what can be chosen by name, from the registries, without importing any of it."""

from collections.abc import Sequence
from textwrap import fill

from lpss import registries
from lpss.errors import UsageError, suggestion
from lpss.registry import Registry

REGISTRIES: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        registries.METHODS,
        registries.OPTIMIZERS,
        registries.MODELS,
        registries.DATASETS,
        registries.SCHEDULES,
    )
}


def list_members(kinds: Sequence[str]) -> int:
    """Print each member's name, description and reference; returns 0. Raises UsageError for an unknown kind."""
    for kind in kinds:
        if kind not in REGISTRIES:
            known = ", ".join(REGISTRIES)
            raise UsageError(f"--list {kind}: no such kind{suggestion(kind, REGISTRIES)}; known: {known}")
    for kind in kinds or REGISTRIES:
        print(f"{kind}=")
        for member in REGISTRIES[kind].members.values():
            text = f"{member.label}: {member.description}" if member.label != member.name else member.description
            print(f"  {member.name:18}{fill(text, 100, subsequent_indent=' ' * 20)}")
            if member.reference:
                print(f"{'':20}{fill(member.reference, 100, subsequent_indent=' ' * 20, break_on_hyphens=False)}")
        print()
    return 0
