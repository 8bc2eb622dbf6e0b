"""Times of what takes turns, and what this machine has measured so: a json file each, beside the compiled code."""

import json
import logging
import os
import time
from collections.abc import Callable

import torch

from lpss.errors import LpssError
from lpss.files import write_text
from lpss.native import loader

log = logging.getLogger(__name__)
ROUNDS, SECONDS = 7, 0.3  # of a measurement at most, but two rounds


def best_times(runs: list[Callable[[], None]]) -> list[float]:
    """The shortest time of each, in seconds; they take turns."""
    best, begun = [float("inf")] * len(runs), time.perf_counter()
    for number in range(ROUNDS):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if number:  # the first round allocates
                best[index] = min(best[index], time.perf_counter() - start)
        if number > 1 and time.perf_counter() - begun > SECONDS:
            break
    return best


def conditions() -> str:
    """What times depend on beside what is done."""
    return f"{torch.get_num_threads()} threads, torch {torch.__version__}, {loader.identity()}"


def recall(name: str, sound: Callable[[object], bool]) -> dict:
    """What of the file of this name is `sound`; nothing where it cannot be read."""
    try:
        read = json.loads((loader.cache_folder() / name).read_text(encoding="utf-8"))
        return {key: value for key, value in read.items() if sound(value)}
    except (OSError, ValueError, AttributeError):
        return {}


def keep(name: str, found: dict, sound: Callable[[object], bool]) -> None:
    """Add to what is sound of the file of this name. Where that cannot be done it is said, no more."""
    path = loader.cache_folder() / name
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        write_text(path, json.dumps(recall(name, sound) | found, indent=1))
    except (OSError, LpssError) as error:
        log.info("what was measured cannot be kept in %s: %s", path, error)
