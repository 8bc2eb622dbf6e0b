"""The trackers of one run, behind a guard: one that fails is switched off with a warning, and training goes on."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from PIL import Image

from lpss.errors import LpssError, reason
from lpss.record import FAILED, FINISHED, INTERRUPTED, RunFolder, read_layers
from lpss.report.collect import collect, layers_of
from lpss.trackers.base import TrackedRun, Tracker, epoch_metrics, result_numbers
from lpss.trackers.note import Note
from lpss.trackers.safely import call_safely

log = logging.getLogger("lpss")


class Trackers:
    """Within `with` they are at work from `start` to `end`; left by an exception, it closes those that `end` has not.

    `warnings`: a line for each tracker that has failed. No method raises anything but what a signal asks for.
    """

    def __init__(self, chosen: Mapping[str, Tracker], run: TrackedRun):
        self.run, self.warnings = run, []
        self._working = dict(chosen)
        self._note: Note | None = None

    @property
    def active(self) -> bool:
        """Whether any is at work."""
        return bool(self._working)

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind is not None:
            self._close(FAILED if issubclass(kind, Exception) else INTERRUPTED)

    def start(self, rows: Iterable[Mapping]) -> None:
        """Begin, or go on; epochs so far (rows of metrics.csv) that a tracker does not have yet are logged."""
        if not self._working:
            return
        self._note = Note.of(RunFolder(self.run.folder).tracked, self.run.hash)
        for name in list(self._working):
            logged = self._note.logged.get(name, 0)
            known = self._call(name, "start", self.run, self._note.id, logged)
            self._note.logged[name] = known if isinstance(known, int) else logged
        for row in rows:
            self._log(row)
        self._write_note()

    def log(self, row: Mapping, layers: Iterable[Mapping] = ()) -> None:
        """An epoch: its row of metrics.csv, and the rows of layers.csv as they would be now."""
        if self._working:
            self._log(row, layers)
            self._write_note()

    def end(self, result: Mapping) -> None:
        """What came out (run.json's content) of a run that has ended and whose files are there."""
        if not self._working:
            return
        try:
            told = result_numbers(result), *_layers_and_picture(self.run.folder, result["status"])
        except Exception as error:
            self._warn(f"trackers are not told of the result: {_line(error)}")
        else:
            for name in list(self._working):
                self._call(name, "log_result", *told)
        self._close(result["status"])

    def _log(self, row: Mapping, layers: Iterable[Mapping] = ()) -> None:
        epoch, metrics = row["epoch"], epoch_metrics(row, layers)
        for name in list(self._working):
            if epoch > self._note.logged[name]:
                self._call(name, "log", epoch, dict(metrics))
                if name in self._working:
                    self._note.logged[name] = epoch

    def _close(self, status: str) -> None:
        for name in list(self._working):
            self._call(name, "close", status)
        self._working.clear()

    def _call(self, name: str, hook: str, *args):
        """What the hook returns; None where it fails, the tracker then being at work no more."""
        tracker = self._working[name]
        value, error = call_safely(lambda: getattr(tracker, hook)(*args))
        if error is not None:
            del self._working[name]
            self._warn(f"tracker={name} is switched off, its {hook} failed: {_line(error)}")
        return value

    def _write_note(self) -> None:
        try:
            self._note.write()
        except LpssError as error:
            self._warn(str(error))

    def _warn(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)
            log.warning("%s: %s", self.run.label, line)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {reason(error)}"


def _layers_and_picture(folder: Path, status: str) -> tuple[pd.DataFrame, Image.Image | None]:
    """layers.csv, and a picture of what a finished run reached."""
    layers = read_layers(folder)
    if status != FINISHED:
        return layers, None
    from lpss.report.figures import accuracy_figure  # matplotlib takes a second to load

    runs = collect(folder)
    with TemporaryDirectory(prefix="lpss-") as temporary:
        file = Path(temporary, "run.png")
        accuracy_figure(runs, file, layers_of(runs))
        return layers, Image.open(file).convert("RGB")
