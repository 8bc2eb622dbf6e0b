"""Errors that are the user's to mend: the command line prints them as one line, without a traceback."""


class LpssError(Exception):
    """Something failed for a reason the message explains; the process ends with exit code 1."""

    exit_code = 1


class UsageError(LpssError):
    """A wrong key, value or name in a command, config or call; the process ends with exit code 2."""

    exit_code = 2


class DataError(LpssError):
    """A data file is missing, altered or not what it should be; the message names the file and the remedy."""
