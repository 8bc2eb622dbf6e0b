"""The commands: parse, call, print. Nothing imports them."""

import os
import sys
from collections.abc import Callable

from lpss.errors import LpssError


def run_command(program: str, body: Callable[[], int | None]) -> int:
    """Run a command's body; returns its exit code, having put the message of an LpssError on stderr as one line."""
    try:
        code = body() or 0
        sys.stdout.flush()
        return code
    except LpssError as error:
        print(f"{program}:", " ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
