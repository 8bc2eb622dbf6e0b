"""How far a run is that is being trained, from the files it has written so far."""

import csv
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lpss.registries import METHODS
from lpss.runs.run import Run


@dataclass(frozen=True)
class Progress:
    """epochs, total: done, and to do in all; seconds_left: until the end, None before the first epoch's."""

    epochs: int
    total: int
    seconds_left: float | None = None
    accuracy: float | None = None


def progress(run: Run, now: float | None = None) -> Progress:
    """How far the run is; now: seconds since 1970, the clock's if None."""
    total, steps = (_setting(run, f"train.{name}") for name in ("epochs", "max_steps"))
    total *= _trainings(run)
    rows, written, begun = _epochs(Path(run.folder))
    if not rows:
        return Progress(0, total)
    last = rows[-1]
    if steps:
        total = min(total, math.ceil(steps * last["epoch"] / last["step"]))
    pace = _pace([row["seconds"] for row in rows], written - begun)
    left = (total - last["epoch"]) * pace - ((time.time() if now is None else now) - written)
    return Progress(int(last["epoch"]), total, max(0.0, left), last["eval_accuracy"])


def _setting(run: Run, name: str) -> int:
    """A whole number; 0 for null, and for what training would refuse."""
    value = run.get(name)
    return value if isinstance(value, int) else 0


def _trainings(run: Run) -> int:
    """How many trainings of `train.epochs` make the run; only a class that has several is imported, with torch."""
    member = METHODS.members.get(run.cells["method"])
    if member is None or not member.several:
        return 1
    return METHODS.find(member.name).trainings(run.config["method"], run.cells["sparsity"])


def _epochs(folder: Path) -> tuple[list[dict[str, float]], float, float]:
    """(rows of metrics.csv, when they were written, when this training of the run began); no rows where there are none
    yet, or those of an earlier training that this one does not continue."""
    try:
        begun, written = ((folder / name).stat().st_mtime for name in ("config.yaml", "metrics.csv"))
        if written < begun and not (folder / "checkpoint.pt").exists():
            return [], written, begun
        with open(folder / "metrics.csv", encoding="utf-8", newline="") as lines:
            names = ("epoch", "step", "seconds", "eval_accuracy")
            rows = [{name: float(row[name]) for name in names} for row in csv.DictReader(lines)]
        return [row for row in rows if row["step"] > 0], written, begun
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return [], 0.0, 0.0


def _pace(seconds: Sequence[float], elapsed: float) -> float:
    """Seconds an epoch takes with its evaluation: the time since this training began over the epochs that fit into it.

    seconds: what each epoch took without. Where not even one fits, as just after a resumption, the last one's.
    """
    done, spent = 0, 0.0
    for one in reversed(seconds):
        if spent + one > elapsed:
            break
        done, spent = done + 1, spent + one
    return elapsed / done if done else seconds[-1]
