"""The jobs of lpss-train in other processes: how each ended, and how an interrupt reaches joblib's workers."""

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lpss.errors import LpssError
from lpss.record import INTERRUPTED

STATUSES = "LPSS_STATUSES"  # the environment variable with the file that jobs append their status to
SECONDS_TO_SAVE = 10


@contextmanager
def status_file() -> Iterator[Path]:
    """The file in which jobs, in whatever process, note how they end. Raises LpssError if none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="lpss-")
    except OSError as error:
        raise LpssError(f"no temporary folder can be made: {error.strerror}") from None
    with folder:
        path = Path(folder.name, "statuses")
        path.touch()
        os.environ[STATUSES] = str(path)
        try:
            yield path
        finally:
            del os.environ[STATUSES]


def note_status(status: str) -> None:
    """Append a job's status: finished, diverged, running (another process trains it), failed or interrupted."""
    try:
        with open(os.environ[STATUSES], "a") as file:
            file.write(f"{status}\n")
    except (KeyError, OSError):  # a job on another machine
        pass


def count(path: Path) -> Counter:
    """Status -> jobs."""
    return Counter(path.read_text().split())


class Workers:
    """joblib's processes in the hands of the command that started them.

    Within `with`, an interrupt (SIGINT, SIGTERM) of the command is passed on to them: each saves its run and skips the
    jobs that wait. Then, or after SECONDS_TO_SAVE, or at a second interrupt, they are killed, and `with` is left with
    KeyboardInterrupt or SystemExit. joblib by itself kills them at once, or leaves them waiting for more work.
    """

    def __init__(self, statuses: Path):
        self._statuses = statuses
        self.received: int | None = None

    def __enter__(self) -> "Workers":
        self._before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        # Python's clean-up process, which reads this, would complain of what killed workers leave, and remove it.
        quiet = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]
        os.environ["PYTHONWARNINGS"] = ",".join(filter(None, quiet))
        return self

    def __exit__(self, kind, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.received is not None or kind is not None:
            _kill(_workers())
        if self.received is not None:
            self._leave()

    def _pass_on(self, number: int, frame) -> None:
        workers, again = _workers(), self.received is not None
        self.received = number
        if again or not workers:
            self._leave()
        for worker in workers:
            os.kill(worker.pid, signal.SIGTERM)
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_SAVE
        while time.monotonic() < deadline and count(self._statuses)[INTERRUPTED] < len(_workers()):
            time.sleep(0.1)
        _kill(_workers())

    def _leave(self) -> None:
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.received)


def _workers() -> list:
    """The living ones."""
    return [process for process in multiprocessing.active_children() if _is_loky(process)]


def _kill(workers: list) -> None:
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)


def _is_loky(process) -> bool:
    return "loky" in type(process).__module__


_stop_requested = False  # in a worker


def stop_requested() -> bool:
    """Whether this process is a worker that was interrupted: it begins no other run."""
    return _stop_requested


@contextmanager
def interruptible() -> Iterator[None]:
    """Around a job: in a worker of joblib an interrupt ends the job, not the worker.

    While a run trains, lpss/train/interrupt.py has the signals, and saves the run before it raises SystemExit.
    """
    if not _is_loky(multiprocessing.current_process()):
        yield
        return
    _handle_signals(_leave_job)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        _request_stop()
    _handle_signals(_request_stop)


def _handle_signals(handler: Callable) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _leave_job(number: int, frame) -> None:
    _request_stop()
    raise SystemExit(128 + number)


def _request_stop(*_) -> None:
    global _stop_requested
    if not _stop_requested:
        _stop_requested = True
        note_status(INTERRUPTED)
