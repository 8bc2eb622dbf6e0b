"""What a run is once it has begun: its folder, the fields of its record, how they are written and read. Without torch.

Writer (lpss/train), readers (lpss/report, lpss-train --from) and tests take names and meanings from here. Which
settings of a config are part of a run's identity, its hash, is said on the fields of lpss/config.py.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from lpss.errors import LpssError
from lpss.files import checksum, write_text

SCHEMA = 1
FINISHED, DIVERGED, FAILED, RUNNING = "finished", "diverged", "failed", "running"
INTERRUPTED = "interrupted"  # begun and not ended, and nobody is training it
ENDED = (FINISHED, DIVERGED)  # what training again would lead to again
PATIENCE = 0.2  # s: whoever only asks whether the lock is held has it for a moment


# --- fields: how a value of run.json, or a cell of results.csv, becomes a cell of a table ---------------------------
def text(value) -> str:
    """Text as it is, null as "", everything else as canonical JSON."""
    if value is not None and not isinstance(value, str):
        value = json.dumps(value, sort_keys=True, ensure_ascii=False)
    (value or "").encode()  # a ValueError here rather than where the table is written
    return value or ""


def mapping(value) -> str:
    """As `text`. Raises ValueError for JSON that is no mapping."""
    written = text(value)
    if written and not isinstance(json.loads(written), dict):
        raise ValueError(f"{written[:40]} where a mapping is expected")
    return written


def integer(value):
    """A whole number or pd.NA. Raises ValueError, TypeError for anything else."""
    if value in (None, ""):
        return pd.NA
    if abs(int(value)) >= 2**63:
        raise ValueError(f"{value} is too large")
    return int(value)


def real(value) -> float:
    """A number or NaN. Raises ValueError, TypeError for anything else."""
    return math.nan if value in (None, "") else float(value)


DTYPES = {integer: "Int64", real: "float64"}  # of a table's columns; the others hold text


@dataclass(frozen=True)
class Field:
    """A field of run.json.

    kind: what its values are; role: `what` was run, its `result`, `where` it ran (which may change a result), or `time`
    (which two runs of one config differ in); late: missing in records of earlier versions.
    """

    kind: Callable
    role: str
    late: bool = False


FIELDS = {
    "status": Field(text, "result"),
    "experiment": Field(text, "what"),
    "dataset": Field(text, "what"),
    "model": Field(text, "what"),
    "method": Field(text, "what"),
    "optimizer": Field(text, "what"),
    "sparsity": Field(real, "what"),  # requested, over maskable weights
    "seed": Field(integer, "what"),
    "p": Field(text, "what"),  # a number, or layer -> number where they differ
    "accuracy_last": Field(real, "result"),  # 0..1, after the last epoch
    "accuracy_best": Field(real, "result"),
    "accuracy_best_epoch": Field(integer, "result"),
    "evaluated_on": Field(text, "what"),  # test or validation
    "loss_last": Field(real, "result"),
    "epochs": Field(integer, "result"),
    "steps": Field(integer, "result"),
    "sparsity_weights": Field(real, "result"),  # reached, over maskable weights
    "sparsity_all_parameters": Field(real, "result"),
    "sparsity_own": Field(real, "result"),  # before LpSS's exact finish
    "parameters": Field(integer, "result"),
    "maskable_weights": Field(integer, "result"),
    "active_weights": Field(integer, "result"),
    "train_flops_relative": Field(real, "result"),  # to dense training of ordinary length
    "inference_flops_relative": Field(real, "result"),  # to the dense net
    "inference_flops_dense": Field(real, "result", late=True),  # of one example
    "wall_time_s": Field(real, "time"),
    "peak_memory_bytes": Field(integer, "time"),
    "device": Field(text, "where"),
    "device_name": Field(text, "where"),
    "processes": Field(integer, "where", late=True),
    "threads": Field(integer, "where", late=True),
    "modes": Field(mapping, "where", late=True),  # precision, memory format, compiled, captured
    "code_paths": Field(mapping, "where", late=True),  # which implementations ran
    "fingerprints": Field(mapping, "where", late=True),  # of the data set's content and of plugins' sources
    "versions": Field(mapping, "where"),
    "git_commit": Field(text, "where"),
    "config_hash": Field(text, "what"),
    "config": Field(mapping, "what"),
    "files": Field(mapping, "result", late=True),  # name -> SHA-256
    "warnings": Field(text, "result"),
    "error": Field(text, "result", late=True),  # of a failed run
    "started": Field(text, "time"),
    "finished": Field(text, "time"),
}
TIMES = tuple(name for name, field in FIELDS.items() if field.role == "time")
# layers.csv, a row a maskable layer.
LAYER_FIELDS = {
    "layer": text,
    "role": text,
    "shape": text,  # outputs x inputs x kernel
    "p": text,
    "weights": real,
    "active": real,
    "density_requested": real,
    "density_reached": real,
    "sparsity_reached": real,
    "hoyer_sparsity": real,  # mean over neurons that have a weight
    "empty_neurons": real,
}
# metrics.csv, a row an epoch.
EPOCH_FIELDS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_accuracy",
    "eval_loss",
    "eval_accuracy",
    "sparsity_weights",
    "hoyer_sparsity",
    "explored",  # weights that have been active so far / maskable weights
    "seconds",
    "samples_per_second",
)
EPOCH_TIMES = ("seconds", "samples_per_second")
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"  # after the last epoch; after the best by the validation part
LEFTOVERS = ".?*.?*"  # names of files that a process that was killed had not finished writing
SEALED = (WEIGHTS, "layers.csv")  # files whose checksums run.json holds
OPTIONAL = (BEST,)  # the same of those that not every run leaves


def dataset_title(settings: Mapping) -> str:
    """What tables and folders call a data set: its name, or the title of data of one's own."""
    return settings.get("title") or settings["name"]


def described(config: Mapping) -> dict:
    """The fields of a record that config.yaml gives. Raises LookupError, TypeError for the config of something else."""
    return {
        "experiment": config["experiment_name"],
        "dataset": dataset_title(config["dataset"]),
        **{group: config[group]["name"] for group in ("model", "method", "optimizer")},
        "sparsity": config["sparsity"],
        "seed": config["seed"],
        "evaluated_on": "validation" if config["train"]["validation"] else "test",
    }


def changes(earlier: Mapping, now: Mapping) -> list[str]:
    """What of `where` two records differ in, as "threads 1 -> 2"; fields that one of them lacks are left out."""
    lines = []
    for name, field in FIELDS.items():
        before, after = earlier.get(name), now.get(name)
        if field.role != "where" or before is None or after is None or before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
            lines += [f"{key} {_short(before.get(key))} -> {_short(after.get(key))}" for key in keys]
        else:
            lines.append(f"{name} {_short(before)} -> {_short(after)}")
    return lines


def _short(value) -> str:
    """A checksum or commit by its first digits."""
    shown = "none" if value is None else str(value)
    head, dash, rest = shown.partition("-")
    return f"{head[:12]}{dash}{rest}" if len(head) >= 40 and set(head) <= set("0123456789abcdef") else shown


# --- the folder -----------------------------------------------------------------------------------------------------
class RunFolder:
    """Paths, writers and readers of one run's folder. run.json comes last, so a folder that has one is complete."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoint = path / "checkpoint.pt"
        self.tracked = path / "trackers.json"  # see lpss/trackers/note.py

    def result(self) -> dict | None:
        """run.json's content, or None where the run has not ended. Raises LpssError where it cannot be read."""
        try:
            result = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None
        except OSError as error:
            raise LpssError(f"output: {self.path / 'run.json'} cannot be read: {error.strerror}") from None
        return result if isinstance(result, dict) and {"status", "accuracy_last"} <= result.keys() else None

    def damage(self, result: Mapping) -> list[str]:
        """A line for each file that a finished run should have left and that is gone or altered."""
        lines, sealed = [], result.get("files") or dict.fromkeys(SEALED)
        for name, sha256 in sealed.items():
            try:
                if sha256 and checksum(self.path / name) != sha256:
                    lines.append(f"{name} is damaged")
                elif not (self.path / name).is_file():
                    lines.append(f"{name} is gone")
            except OSError as error:
                lines.append(f"{name} is gone" if isinstance(error, FileNotFoundError) else f"{name}: {error.strerror}")
        return lines

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether the run is this process's to train; of several that ask, one is told so.

        The system frees the lock when the process ends, however it ends. Raises LpssError where the folder cannot be
        used.
        """
        lock = FileLock(self.path / ".lock", timeout=PATIENCE)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise LpssError(f"output: {self.path} cannot be used: {error.strerror or error}") from None
        try:
            yield True
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether a process is training the run. Asking needs no right to write, and stops nobody from training."""
        from fcntl import LOCK_NB, LOCK_SH, flock  # POSIX has it

        try:
            with open(self.path / ".lock", "rb") as file:
                flock(file, LOCK_SH | LOCK_NB)  # the lock of FileLock, but one that several may have at once
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def remove_leftovers(self) -> None:
        """Delete what a process that was killed had not finished writing; call it under the lock."""
        for path in self.path.glob(LEFTOVERS):
            path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Make an ended run one that has not ended, and a new one to trackers; its earlier record stays as
        run.previous.json."""
        self.tracked.unlink(missing_ok=True)
        (self.path / "run.json").replace(self.path / "run.previous.json")

    def write_config(self, config: Mapping) -> None:
        """config.yaml."""
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(config))

    def write_data(self, facts: Mapping) -> None:
        """data.json: what was found out and decided of data of one's own."""
        write_text(self.path / "data.json", json.dumps(_without_nan(facts), indent=1, ensure_ascii=False) + "\n")

    def write_metrics(self, rows: list[dict]) -> None:
        """metrics.csv, from dicts with `EPOCH_FIELDS`."""
        write_text(self.path / "metrics.csv", pd.DataFrame(rows, columns=list(EPOCH_FIELDS)).to_csv(index=False))

    def write_layers(self, rows: list[dict]) -> None:
        """layers.csv, from dicts with `LAYER_FIELDS`."""
        write_text(self.path / "layers.csv", pd.DataFrame(rows, columns=list(LAYER_FIELDS)).to_csv(index=False))

    def checksums(self) -> dict[str, str]:
        """Name -> SHA-256 of the files in `SEALED` and `OPTIONAL` that are there."""
        return {name: checksum(self.path / name) for name in SEALED + OPTIONAL if (self.path / name).is_file()}

    def write_result(self, result: dict) -> None:
        """run.json, last of all; NaN becomes null. Unless the run has failed, its checkpoint has served its purpose."""
        write_text(self.path / "run.json", json.dumps(_without_nan(result), indent=1) + "\n")
        if result["status"] != FAILED:
            self.checkpoint.unlink(missing_ok=True)

    def log_handler(self) -> logging.Handler:
        """A handler that appends to run.log. Raises LpssError where it cannot be opened."""
        try:
            handler = logging.FileHandler(self.path / "run.log", encoding="utf-8")
        except OSError as error:
            raise LpssError(f"output: {self.path / 'run.log'} cannot be written: {error.strerror}") from None
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        return handler


def read_layers(folder: Path) -> pd.DataFrame | None:
    """layers.csv of a run's folder, with the columns `LAYER_FIELDS`; None where there is none.

    Raises ValueError, KeyError or OSError where it is no such file.
    """
    file = folder / "layers.csv"
    if not file.is_file():
        return None
    texts = [name for name, kind in LAYER_FIELDS.items() if kind is text]
    table = pd.read_csv(file, dtype=dict.fromkeys(texts, str))[list(LAYER_FIELDS)]
    return table.astype({name: "float64" for name in LAYER_FIELDS if name not in texts})


def read_metrics(folder: Path) -> pd.DataFrame | None:
    """metrics.csv of a run's folder, numbers in the columns `EPOCH_FIELDS`; None where there is none.

    Columns that earlier versions did not write are NaN. Raises ValueError or OSError where it is no such file.
    """
    file = folder / "metrics.csv"
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    if "epoch" not in table:
        raise ValueError("it has no column 'epoch'")
    return table.reindex(columns=list(EPOCH_FIELDS)).astype("float64")


def _without_nan(value):
    if isinstance(value, dict):
        return {str(key): _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
