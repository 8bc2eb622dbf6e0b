"""Errors whose message tells the user what to do: the command line prints it as one line, without a traceback."""

import difflib
from collections.abc import Iterable


class LpssError(Exception):
    """Something failed for a reason the message explains; the process ends with exit code 1."""

    exit_code = 1


class UsageError(LpssError, ValueError):
    """A wrong key, value or name in a command, config or call; the process ends with exit code 2."""

    exit_code = 2


class DataError(LpssError):
    """A data file is missing, altered or not what it should be; the message names the file and the remedy."""


def reason(error: Exception) -> str:
    """The first line of what an error of another library says, or, where it says nothing, its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def suggestion(word: str, known: Iterable[str]) -> str:
    """ ", did you mean 'x'?" where a known word is near, else an empty string."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""
