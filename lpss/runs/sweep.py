"""A sweep as it is now: what became of its runs, how far those at work are, when they will have ended, what failed."""

from collections import Counter
from collections.abc import Sequence

from lpss.record import DIVERGED, FAILED, FINISHED, RUNNING
from lpss.runs.progress import Progress, progress
from lpss.runs.run import STATES, Run
from lpss.runs.text import aligned, duration, one_line, runs_text, short

WHAT = ("dataset", "method", "sparsity", "seed")
FAILURES = 10  # the latest that are shown


def snapshot(runs: Sequence[Run], total: int | None = None) -> str:
    """The runs counted by state, those at work, and those that failed. total: how many there are to be in the end."""
    working = {run: progress(run) for run in runs if run.status == RUNNING}
    failures = [run for run in runs if run.status in (FAILED, DIVERGED)]
    failures = sorted(failures, key=lambda run: run.cells["finished"] or "")[-FAILURES:]
    rows = [[*(short(run.get(name)) for name in WHAT), *_cells(one)] for run, one in working.items()]
    table = aligned((*WHAT, "epochs", "accuracy", "time left"), rows, left=("dataset", "method"))
    head = _counts(runs, total) + _time_left(seconds_left(runs, list(working.values()), total), total)
    return "\n".join(filter(None, [head, table, "".join(map(_failure, failures))]))


def seconds_left(runs: Sequence[Run], working: Sequence[Progress], total: int | None) -> float | None:
    """Until those at work, or all of `total`, will have ended, if as many run at once as now; None if unknown."""
    known = [one.seconds_left for one in working if one.seconds_left is not None]
    if not known:
        return None
    if total is None:
        return max(known)
    times = [run.cells["wall_time_s"] or 0.0 for run in runs if run.status == FINISHED]
    usual = sum(times) / len(times) if times else max(known)
    whole = max(0, total - sum(run.is_over for run in runs) - len(known))  # runs of which nothing is known yet
    return max(*known, (sum(known) + usual * whole) / len(working))


def _counts(runs: Sequence[Run], total: int | None) -> str:
    counts = Counter(run.status for run in runs)
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "none has begun"
    return f"{runs_text(len(runs)) if total is None else f'{len(runs)} of {runs_text(total)}'}: {states}\n"


def _time_left(seconds: float | None, total: int | None) -> str:
    if seconds is None:
        return ""
    return f"time left: about {duration(seconds)}{' for those that are running' if total is None else ''}\n"


def _cells(one: Progress) -> list[str]:
    left = "-" if one.seconds_left is None else duration(one.seconds_left)
    return [f"{one.epochs} of {one.total}", short(one.accuracy), left]


def _failure(run: Run) -> str:
    why = (run.cells["error"] or "").partition("\n")[0] or f"after epoch {short(run.cells['epochs'])}"
    return f"{run.status}: {one_line(run.folder)}: {one_line(why)}\n"
