"""Checks of the arguments that the theory's functions share: numbers or arrays of numbers."""

import numpy as np

from lpss.errors import UsageError

MOST_FAN_IN = 10**6


def fan_ins(d) -> np.ndarray:
    """d as floats. Raises UsageError unless all are whole numbers of at least 2 (1 has no Hoyer's sparsity)."""
    wanted = f"whole numbers from 2 to {MOST_FAN_IN:,}"
    return _checked(d, "d", wanted, lambda x: (x >= 2) & (x <= MOST_FAN_IN) & (x % 1 == 0))


def exponents(p) -> np.ndarray:
    """p as floats. Raises UsageError unless all are in (1, inf)."""
    return _checked(p, "p", "finite numbers greater than 1", lambda x: x > 1)


def positive(values, name: str) -> np.ndarray:
    """Floats. Raises UsageError unless all are in (0, inf)."""
    return _checked(values, name, "finite numbers greater than 0", lambda x: x > 0)


def fractions(values, name: str) -> np.ndarray:
    """Floats. Raises UsageError unless all are in (0, 1)."""
    return _checked(values, name, "numbers between 0 and 1, both excluded", lambda x: (x > 0) & (x < 1))


def together(*arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays, broadcast to one shape. Raises UsageError if they do not fit."""
    try:
        return np.broadcast_arrays(*arrays)
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise UsageError(f"arrays of shapes {shapes} do not fit together: give one number or equal shapes") from None


def _checked(values, name: str, wanted: str, test) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name} must be {wanted}, got {values!r}") from None
    right = np.isfinite(array) & test(np.where(np.isfinite(array), array, 0))
    if not right.all():
        raise UsageError(f"{name} must be {wanted}, got {array[~right][0]:g}")
    return array
