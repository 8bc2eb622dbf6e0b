"""Deleting runs, and forgetting how they ended so that they are trained again: under their locks, one at a time.

Whoever asks was shown a list: a run is touched only while it is what was listed, and nobody trains it.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lpss.errors import LpssError, reason
from lpss.record import DIVERGED, FAILED, RunFolder
from lpss.runs.contents import TRACKERS, files_of
from lpss.runs.folders import read
from lpss.runs.run import Run

FORGETTABLE = (DIVERGED, FAILED)


def delete(runs: Iterable[Run]) -> Iterator[tuple[Run, str]]:
    """Delete the runs' own files, then their folders where nothing else is in them.

    Yields each run, and why it, or a part of its folder, is still there ("" where nothing is).
    """
    return _each(runs, _delete)


def forget(runs: Iterable[Run]) -> Iterator[tuple[Run, str]]:
    """Make diverged and failed runs (`FORGETTABLE`) ones that have not ended; everything but the record stays.

    Yields each run, and why it is as it was ("" where it is not).
    """
    return _each(runs, _forget)


def _each(runs: Iterable[Run], act: Callable[[RunFolder], str]) -> Iterator[tuple[Run, str]]:
    for run in runs:
        folder = RunFolder(Path(run.folder))
        try:
            yield run, _locked(run, folder, act)
        except (OSError, LpssError) as error:
            yield run, reason(error)


def _locked(run: Run, folder: RunFolder, act: Callable[[RunFolder], str]) -> str:
    if not folder.path.is_dir():  # the lock would make it again
        return "it is gone"
    with folder.lock() as mine:
        if not mine:
            return "it is being trained"
        now = read(folder.path)
        if now != {**run.cells, "status": run.status if run.is_over else None}:
            return "it has changed since it was listed"
        return act(folder)


def _delete(folder: RunFolder) -> str:
    for file in files_of(folder.path):
        file.path.unlink(missing_ok=True)
    for tracker in TRACKERS:
        _remove_empty(folder.path / tracker)
    others = sorted(path.name for path in folder.path.iterdir())
    if not others:
        folder.path.rmdir()
    return f"it holds what is not the run's: {', '.join(others)}" if others else ""


def _remove_empty(folder: Path) -> None:
    """A folder with its folders, as far as there is nothing in them."""
    for where, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(where)


def _forget(folder: RunFolder) -> str:
    previous = (folder.path / "run.previous.json").exists()
    if previous and (folder.result() or {}).get("status") == FAILED:
        (folder.path / "run.json").unlink()  # the record before it says how the run once ended
    else:
        folder.set_aside()
    return ""
