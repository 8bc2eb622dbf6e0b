"""MLflow: a database for all runs of an output folder, or a tracking server."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from filelock import FileLock

from lpss.errors import UsageError
from lpss.record import DIVERGED, FAILED, FINISHED
from lpss.registries import TRACKERS
from lpss.trackers.base import Tracker

ID = "lpss.id"  # the tag by which a run is found again
STATUS = {FINISHED: "FINISHED", DIVERGED: "FAILED", FAILED: "FAILED"}  # of others, KILLED
MOST_METRICS, MOST_PARAMS = 1000, 100  # of one call


@TRACKERS.register("mlflow")
class MLflow(Tracker):
    """A database OUTPUT/mlflow/mlflow.db, or what tracker.mlflow.uri or MLFLOW_TRACKING_URI names."""

    label = "MLflow"
    reference = "https://mlflow.org"
    order = 20
    packages = ("mlflow", "sqlalchemy", "alembic")

    @dataclass
    class Config:
        uri: Optional[str] = None  # noqa: UP045 (OmegaConf reads the annotation)
        experiment: str = "lpss"

    def start(self, run, id, logged):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else it calls its makers
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")  # of its own loggers; what fails is said by ours
        if uri := self.config.uri or os.environ.get("MLFLOW_TRACKING_URI"):
            experiment = self._connect(uri)
        else:
            folder = (run.output / "mlflow").absolute()
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):  # two processes that make its tables at once would fail
                experiment = self._connect(_database(folder / "mlflow.db"), (folder / "artifacts").as_uri())
        found = self.client.search_runs([experiment], f"tags.`{ID}` = '{id}'", max_results=1)
        if found:
            self.run_id = found[0].info.run_id
            self.client.update_run(self.run_id, status="RUNNING")
            return int(found[0].data.metrics.get("epoch", 0))
        tags = {ID: id, "lpss.hash": run.hash, "lpss.group": run.group, "lpss.folder": str(run.folder.absolute())}
        self.run_id = self.client.create_run(experiment, tags=tags, run_name=run.label).info.run_id
        self._log_params(run.config)
        return 0

    def log(self, epoch, metrics):
        self._log_metrics(metrics, epoch)

    def log_result(self, numbers, layers, picture):
        self._log_metrics(numbers, 0)
        self.client.log_text(self.run_id, layers.to_csv(index=False), "layers.csv")
        if picture:
            self.client.log_image(self.run_id, picture, "run.png")

    def close(self, status):
        self.client.set_tag(self.run_id, "lpss.status", status)
        self.client.set_terminated(self.run_id, STATUS.get(status, "KILLED"))

    def _connect(self, uri: str, artifacts: str | None = None) -> str:
        """Make the client; returns the experiment's id, which is made where it is not there."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.client, name = MlflowClient(uri), self.config.experiment
        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self.client.create_experiment(name, artifact_location=artifacts)
        except MlflowException:
            if found := self.client.get_experiment_by_name(name):  # made by another run meanwhile
                return found.experiment_id
            raise

    def _log_metrics(self, metrics, step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        entries = [Metric(_key(name), float(value), now, step) for name, value in metrics.items()]
        for part in _parts(entries, MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=part)

    def _log_params(self, config) -> None:
        from mlflow.entities import Param

        for part in _parts([Param(_key(name), str(value)) for name, value in config.items()], MOST_PARAMS):
            self.client.log_batch(self.run_id, params=part)


def _database(file: Path) -> str:
    """The URL of an SQLite file. Raises UsageError for a path that would mean another in a URL."""
    if set(str(file)) & set("%?"):
        raise UsageError(f"an MLflow database cannot be in {file.parent}: name another with tracker.mlflow.uri")
    return f"sqlite:///{file}"


def _key(name: str) -> str:
    """A name with _ for what MLflow does not take in one."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def _parts(entries: Sequence, size: int) -> Iterator[Sequence]:
    for begin in range(0, len(entries), size):
        yield entries[begin : begin + size]
