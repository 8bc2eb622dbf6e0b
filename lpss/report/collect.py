"""Run folders (or a results.csv) -> one flat DataFrame with a row for each run. Reads files only, without torch."""

import csv
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from lpss.errors import UsageError, reason, suggestion
from lpss.files import write_text
from lpss.record import DTYPES, EPOCH_FIELDS, FIELDS, LAYER_FIELDS, SCHEMA, read_layers, read_metrics, text

log = logging.getLogger(__name__)

COLUMNS = {"folder": text} | {name: field.kind for name, field in FIELDS.items()}
# A results.csv need not have these: earlier versions did not record them.
LATE = [name for name, field in FIELDS.items() if field.late]
UNREADABLE = (OSError, ValueError, TypeError, OverflowError, RecursionError)  # what a file that is no record raises
RUN_COLUMNS = [
    *("folder", "experiment", "dataset", "model", "method", "sparsity", "seed"),
    *("evaluated_on", "status", "config_hash", "config"),
]


def collect(paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """One row for each run.json at or below `paths` (folders, run.json files, results.csv files).

    Columns: `folder`, then the fields of run.json, in the order of `COLUMNS`. Text columns hold "" for null,
    and JSON for `p` (a number or mapping), `versions`, `config` and `warnings`; integers are Int64, the rest
    float64. Of runs with the same config_hash, dataset, method and seed only the newest stays. Sorted by
    folder. A file that cannot be read as a run is skipped, with a logged warning that names it.
    Raises UsageError for a path that does not exist, a csv with other columns, or where no run is found.
    """
    paths, rows = _listed(paths), []
    for path in paths:
        if not os.path.exists(path):  # also False for a name that no file can have
            raise UsageError(f"{path}: no such file or folder")
        if path.suffix == ".csv":
            rows += _read_results(path)
        else:
            files = sorted(path.rglob("run.json")) if path.is_dir() else [path]
            rows += [row for row in map(_read_run, files) if row]
    if not rows:
        raise UsageError(f"no runs (run.json files) in {', '.join(map(str, paths))}")
    types = {name: DTYPES[convert] for name, convert in COLUMNS.items() if convert in DTYPES}
    return _newest(pd.DataFrame(rows, columns=list(COLUMNS)).astype(types))


def of_experiment(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs whose `experiment` this is. Raises UsageError where there are none."""
    chosen = runs[runs["experiment"] == name]
    if chosen.empty:
        known = sorted(set(runs["experiment"]) - {""})
        raise UsageError(f"--experiment {name}: no such runs{suggestion(name, known)}; there are {', '.join(known)}")
    return chosen.reset_index(drop=True)


def to_results_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write what `collect` returned, all digits kept, so that `collect(path)` returns it again.

    Columns that earlier versions did not record are left out where no run has them. Raises LpssError where the file
    cannot be written.
    """
    blank = [name for name in LATE if frame[name].isin(["", math.nan]).all() or frame[name].isna().all()]
    write_text(path, frame.drop(columns=blank).to_csv(index=False, lineterminator="\n"))


def layers_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of layers.csv of runs that `collect` returned: `RUN_COLUMNS`, then `LAYER_FIELDS`, in the nets' order.

    A file that cannot be read is skipped, with a logged warning that names it; empty where there is none.
    """
    return _stacked(runs[RUN_COLUMNS], "layers.csv", read_layers, LAYER_FIELDS)


def metrics_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of metrics.csv of runs that `collect` returned: `folder`, then `EPOCH_FIELDS`; else as `layers_of`."""
    return _stacked(runs[["folder"]], "metrics.csv", read_metrics, EPOCH_FIELDS)


def unended(paths: str | Path | Iterable[str | Path], experiment: str | None = None) -> list[Path]:
    """The folders at or below `paths` of runs that have begun and not ended: run.log is there, run.json is not.

    experiment: only those below a folder of this name, where lpss-train writes an experiment's runs.
    """
    logs = [file for path in _listed(paths) if path.is_dir() for file in path.rglob("run.log")]
    folders = sorted({file.parent for file in logs if not file.with_name("run.json").exists()})
    return [folder for folder in folders if experiment is None or experiment in folder.parts]


def _stacked(runs: pd.DataFrame, name: str, read: Callable, columns: Iterable[str]) -> pd.DataFrame:
    """What `read` makes of the folders' files of this name, behind the columns of `runs`."""
    parts = [_read_part(Path(folder), name, read) for folder in runs["folder"]]
    counts = [0 if part is None else len(part) for part in parts]
    owners = runs.loc[runs.index.repeat(counts)].reset_index(drop=True)
    found = [part for part in parts if part is not None]
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(columns))
    return pd.concat([owners, rows], axis=1)


def _read_part(folder: Path, name: str, read: Callable) -> pd.DataFrame | None:
    try:
        return read(folder)
    except (OSError, ValueError, KeyError) as error:
        log.warning("skipped %s: %s", folder / name, reason(error))


def _listed(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    return [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]


def read_run(file: Path) -> dict:
    """The row of a run.json. Raises one of `UNREADABLE` where it is not the record of a run."""
    run = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(run, dict) or not {"schema", "status", "dataset", "method"} <= run.keys():
        raise ValueError("not the record of a run")
    if run["schema"] != SCHEMA:
        raise ValueError(f"its schema is {run['schema']!r}, this version reads {SCHEMA}")
    if unknown := sorted(run.keys() - FIELDS.keys() - {"schema"}):
        log.warning("%s: left out what this version does not know: %s", file, ", ".join(unknown))
    return row_of({**run, "folder": file.parent.as_posix()})


def _read_run(file: Path) -> dict | None:
    try:
        return read_run(file)
    except UNREADABLE as error:
        log.warning("skipped %s: %s", file, reason(error))


def _read_results(file: Path) -> list[dict]:
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ()) and name not in LATE]
            if lacking:
                raise UsageError(f"{file} is not a results.csv of lpss-table: it has no column {lacking[0]!r}")
            return [row_of(row) for row in reader]
    except (OSError, ValueError, OverflowError, RecursionError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read: {reason(error)}") from error


def row_of(record: Mapping) -> dict:
    """A cell for each of `COLUMNS`. Raises ValueError, TypeError, OverflowError for a value of another kind."""
    return {name: convert(record.get(name)) for name, convert in COLUMNS.items()}


def _newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop all but the newest of each run; a run without a hash is only ever its own duplicate."""
    stamp = frame["finished"].where(frame["finished"] != "", frame["started"])
    frame = frame.assign(
        when=pd.to_datetime(stamp, utc=True, errors="coerce", format="ISO8601"),
        key=frame["config_hash"].where(frame["config_hash"] != "", frame["folder"]),
    )
    frame = frame.sort_values(["when", "folder"], na_position="first", kind="stable")
    frame = frame.drop_duplicates(["key", "dataset", "method", "seed"], keep="last")
    return frame.drop(columns=["when", "key"]).sort_values("folder", kind="stable", ignore_index=True)
