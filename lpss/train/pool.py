"""Many runs, several at once: each in a process of its own thread count, none stopped by another's failure."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from lpss.errors import LpssError


@dataclass(frozen=True)
class Outcome:
    """What became of one run: `result` is run.json's content, None where it failed; `error` then says why."""

    overrides: tuple[str, ...]
    result: dict | None
    error: str = ""


def run_many(
    runs: Sequence[Sequence[str]], *, workers: int, compose: Callable[[Sequence[str]], object], threads: int = 1
) -> Iterator[Outcome]:
    """Train every run, `workers` at once with `threads` CPU threads each; yields outcomes as they come.

    Args:
        runs: for each run the overrides that `compose` makes its RunConfig from. Runs that have ended before, or that
            another process is training, are not trained again (see `lpss.train.run.run`).
        compose: a picklable function, called in the worker.

    An interrupt (Ctrl-C, SIGTERM) is handed on to the runs in flight, which save themselves, and raised again. Raises
    LpssError where a worker is killed: the system takes all others down with it; what they have saved stays.
    """
    with _threads(threads), _sigterm_interrupts():
        context = multiprocessing.get_context("spawn")  # forked threads of torch would hang
        pool = ProcessPoolExecutor(workers, mp_context=context)
        waiting, pending = iter(runs), set()
        try:
            while True:
                # Never more than are at work: what the pool has queued cannot be taken back at an interrupt.
                for overrides in islice(waiting, workers - len(pending)):
                    pending.add(pool.submit(_train, tuple(overrides), compose, threads))
                if not pending:
                    break
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException as error:
            for process in multiprocessing.active_children():
                process.terminate()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise LpssError("a run's process was killed (for its memory?); the same command goes on") from None
            raise
        pool.shutdown()


def _train(overrides: tuple[str, ...], compose: Callable, threads: int) -> Outcome:
    from lpss.train.run import run

    log = logging.getLogger("lpss")  # says all in run.log, nothing on the terminal
    log.setLevel(logging.INFO)
    log.addHandler(logging.NullHandler())
    log.propagate = False
    try:
        return Outcome(overrides, run(compose([f"threads={threads}", *overrides])))
    except Exception as error:
        return Outcome(overrides, None, " ".join(f"{type(error).__name__}: {error}".split()))


@contextmanager
def _threads(count: int):
    """Workers read this when they load torch; a thread pool larger than their share would thrash."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _sigterm_interrupts():
    def interrupt(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
