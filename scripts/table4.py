"""What the scripts of Table 4 share: its methods, and lists on the command line."""

from collections.abc import Sequence

METHODS = ("dense", "set", "static", "rigl", "snip", "gmp", "lpss")


def words(text: str) -> list[str]:
    """A comma-separated list."""
    return [word for word in text.split(",") if word]


def sparsities_of(method: str, sparsities: Sequence) -> Sequence:
    """Those to train a method at: dense has none to vary."""
    return [0.0] if method == "dense" else sparsities
