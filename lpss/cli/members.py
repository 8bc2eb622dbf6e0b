"""lpss-train --list [KIND ...]: what can be chosen by name, from the registries, without importing any of it."""

from collections.abc import Sequence
from textwrap import fill

from lpss.errors import UsageError, suggestion
from lpss.registries import REGISTRIES


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
            print(f"  {member.name:18}{fill(text, 100, subsequent_indent=' ' * 20, break_on_hyphens=False)}")
            if member.reference:
                print(f"{'':20}{fill(member.reference, 100, subsequent_indent=' ' * 20, break_on_hyphens=False)}")
        print()
    return 0
