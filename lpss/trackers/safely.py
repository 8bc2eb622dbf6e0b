"""Calls into code that may fail, hang or draw random numbers, so that training notices none of it."""

import random
import threading
from collections.abc import Callable
from typing import Any

import torch

SECONDS = 60  # after which a call counts as hanging


def call_safely(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """(what `function` returns, None), or (None, what it raised, whatever that is; TimeoutError where it hangs).

    It runs in a thread, which is left to itself after `SECONDS`: signals are noticed meanwhile, and the end of the
    program does not wait for it. torch's and Python's global random numbers go on as if it had drawn none.
    """
    outcome: list = []

    def body():
        try:
            outcome.append((function(), None))
        except BaseException as error:  # a SystemExit, too, is this thread's alone
            outcome.append((None, error if isinstance(error, Exception) else RuntimeError(repr(error))))

    before = random.getstate(), torch.get_rng_state()
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(SECONDS)
    random.setstate(before[0])
    torch.set_rng_state(before[1])
    return outcome[0] if outcome else (None, TimeoutError(f"no answer within {SECONDS} seconds"))
