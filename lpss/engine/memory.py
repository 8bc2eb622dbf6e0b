"""Memory of large activations, used again instead of given back."""

import ctypes
import sys
from functools import cache

_TRIM, _MMAP = -1, -3  # parameters of glibc's mallopt
LARGEST = 2**30  # bytes


@cache
def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees; returns whether it does.

    glibc gives large blocks back to the system at every step, which then fills them with zeros page by page as they are
    used again: a fifth of the time of a WRN-22-2's step. Does nothing without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP, LARGEST) and mallopt(_TRIM, 2**31 - 1))
