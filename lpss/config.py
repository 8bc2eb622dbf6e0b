"""The schema of a run's config, its checks, and which settings are a run's identity.

Hydra composes `conf/` into these classes, so that a typo in any file or override is an error that names the key. Below
this module no OmegaConf object exists: a `RunConfig` holds plain values. The groups dataset, model, optimizer,
method and schedule are mappings here; the class that each `name` stands for checks its own options, as do trackers,
each under its name in `tracker`.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lpss import record
from lpss.errors import UsageError, suggestion
from lpss.options import check_range, later, without_later

# Settings that are not part of a run's identity: where it computes, reads and writes, how it is saved and launched.
INCIDENTAL = {"incidental": True}
RERUN = ("never", "diverged", "changed", "always")
PRECISIONS = ("float32", "tf32", "bfloat16", "auto")
MODES = ("auto", True, False)
BACKENDS = ("dense", "sparse", "auto")
GAINS = ("auto", "none", "fixed", "learned")
MOST_THREADS = 1024  # far more than this cannot be started
GROUPS = ("dataset", "model", "optimizer", "method", "schedule")


@dataclass
class DataConfig:
    """Where data sets are; null: $LPSS_DATA, else ~/.cache/lpss. `download` allows fetching what is missing."""

    root: Optional[str] = None  # noqa: UP045 (OmegaConf reads the annotation)
    download: bool = True


@dataclass
class TrainConfig:
    """Budget and how steps are computed. `max_steps` ends training early (schedules follow); `validation` holds out
    that fraction of the training set and reports on it; `checkpoint_every` is in epochs, 0 for none; `keep_best` also
    saves the weights of the best epoch by `validation`; `ema` is the decay of an average of the weights over the steps,
    which is then what is evaluated and saved, 0 for none. `channels_last`,
    `compile` and `capture` change speed and rounding alone: true, false, or auto (see lpss/train/compute.py), as does
    `backend`, what masked layers compute from on a CPU: dense weights, sparse (their active weights alone), or auto,
    which is sparse where that is faster. `limits`: of auto, layer name -> density up to which it is; null: measured.
    `measured_precision`: what `precision=auto` comes to (see lpss/train/precision.py); null: measured."""

    epochs: int = 20
    batch_size: int = 128
    max_steps: Optional[int] = None  # noqa: UP045
    validation: float = 0.0
    checkpoint_every: int = field(default=1, metadata=INCIDENTAL)
    keep_best: bool = field(default=True, metadata=INCIDENTAL)
    ema: float = later(0.0)
    precision: str = "float32"
    channels_last: Any = field(default="auto", metadata=INCIDENTAL)
    compile: Any = field(default="auto", metadata=INCIDENTAL)
    capture: Any = field(default="auto", metadata=INCIDENTAL)
    backend: str = field(default="dense", metadata=INCIDENTAL)
    limits: Any = field(default=None, metadata=INCIDENTAL)
    measured_precision: Optional[str] = field(default=None, metadata=INCIDENTAL)  # noqa: UP045


@dataclass
class SearchConfig:
    """What a sweeper such as Optuna's is told: `objective`, fields of run.json that are numbers; `on_test` allows a
    search without train.validation, on the test set."""

    objective: list[str] = field(default_factory=lambda: ["accuracy_last"])
    on_test: bool = False


@dataclass
class LayerRule:
    """Roles or name patterns of layers that are left out."""

    exclude: list[str] = field(default_factory=list)


@dataclass
class SphereRule(LayerRule):
    """`gain`: whether neurons on the sphere are multiplied by the norm they had before: none, fixed, learned, or auto,
    which is fixed for a run that begins with trained weights (`init`)."""

    gain: str = later("auto")


@dataclass
class MaskRule(LayerRule):
    """`include`: layers that are masked only when asked for (embeddings, bare parameters, shared weights), by role,
    type or name pattern. `rescale`: whether neurons are scaled to the inputs that the first mask leaves them."""

    rescale: bool = False
    include: list[str] = later([])


@dataclass
class RunConfig:
    """One run. `experiment_name` labels the runs of an experiment file; `plugins` are modules to import first; `init`
    is a file of trained weights to begin with, a run's folder, or a folder that holds the run of the same data set,
    model and seed; `threads` is the number of CPU threads, null for torch's own choice; `rerun` says which runs that
    have ended are trained again: never, diverged, changed (its data, plugins, code paths or files are not what they
    were), always; `tracker` holds the options of each tracker that is chosen."""

    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    sparsity: float = 0.9
    seed: int = 0
    init: Optional[str] = later(None)  # noqa: UP045
    device: str = field(default="auto", metadata=INCIDENTAL)
    threads: Optional[int] = field(default=None, metadata=INCIDENTAL)  # noqa: UP045
    output: str = field(default="outputs", metadata=INCIDENTAL)
    rerun: str = field(default="never", metadata=INCIDENTAL)
    tracker: dict[str, Any] = field(default_factory=dict, metadata=INCIDENTAL)
    experiment_name: Optional[str] = None  # noqa: UP045
    plugins: list[str] = field(default_factory=list)
    data: DataConfig = field(default_factory=DataConfig, metadata=INCIDENTAL)
    train: TrainConfig = field(default_factory=TrainConfig)
    sphere: SphereRule = field(default_factory=lambda: SphereRule(["head"]))
    mask: MaskRule = field(default_factory=MaskRule)
    search: SearchConfig = field(default_factory=SearchConfig, metadata=INCIDENTAL)

    @property
    def dataset_title(self) -> str:
        """What tables and folders call the data set."""
        return record.dataset_title(self.dataset)

    def to_dict(self) -> dict:
        """Plain nested dicts, as saved in config.yaml and run.json."""
        return dataclasses.asdict(self)


def incidental_settings(schema: type = RunConfig, prefix: str = "") -> set[str]:
    """The dotted keys of settings that are no part of a run's identity."""
    found = set()
    for one in dataclasses.fields(schema):
        if one.metadata.get("incidental"):
            found.add(prefix + one.name)
        elif dataclasses.is_dataclass(one.type):
            found |= incidental_settings(one.type, f"{prefix}{one.name}.")
    return found


def config_hash(config: RunConfig, groups: Mapping[str, Mapping] | None = None) -> str:
    """12 hex digits over every setting that decides the result, the run's identity.

    groups: what of the groups' settings enters it (`Registry.identity`); all of them where None.
    """
    settings = _identity(RunConfig, config.to_dict()) | dict(groups or {})
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _identity(schema: type, values: Mapping) -> dict:
    """The values that enter the hash, of a dataclass's."""
    kept = without_later(schema, values)
    for one in dataclasses.fields(schema):
        if one.metadata.get("incidental"):
            del kept[one.name]
        elif dataclasses.is_dataclass(one.type):
            kept[one.name] = _identity(one.type, kept[one.name])
    return kept


def plain_config(config: DictConfig | Mapping) -> RunConfig:
    """A checked RunConfig from a composed config. Raises UsageError that names the key."""
    try:
        # A plain container first: merging two structured configs would let keys pass that were added with +key=value.
        values = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
        run: RunConfig = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), values))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise UsageError(f"{f'{key}: ' if key else ''}{str(error).splitlines()[0]}") from None
    _check(run)
    run.output = os.path.expanduser(run.output)
    return run


def _check(run: RunConfig) -> None:
    for group in GROUPS:
        if not isinstance(getattr(run, group).get("name"), str):
            raise UsageError(f"{group}.name is missing: choose one with {group}=..., or name it in the file")
    check_range(run.sparsity, "sparsity", 0, 1, open_high=True)
    train = run.train
    for key, value in (("train.epochs", train.epochs), ("train.batch_size", train.batch_size)):
        if value < 1:
            raise UsageError(f"{key} must be at least 1, got {value}")
    if train.max_steps is not None and train.max_steps < 1:
        raise UsageError(f"train.max_steps must be at least 1 or null, got {train.max_steps}")
    check_range(train.validation, "train.validation", 0, 1, open_high=True)
    check_range(train.ema, "train.ema", 0, 1, open_high=True)
    if train.checkpoint_every < 0:
        raise UsageError(f"train.checkpoint_every must be at least 0 epochs, got {train.checkpoint_every}")
    if train.precision not in PRECISIONS:
        raise UsageError(f"train.precision must be one of {', '.join(PRECISIONS)}, got {train.precision!r}")
    if train.measured_precision not in (None, "float32", "bfloat16"):
        value = train.measured_precision
        raise UsageError(f"train.measured_precision must be float32, bfloat16 or null, got {value!r}")
    for key in ("channels_last", "compile", "capture"):
        if getattr(train, key) not in MODES:
            raise UsageError(f"train.{key} must be auto, true or false, got {getattr(train, key)!r}")
    if train.backend not in BACKENDS:
        raise UsageError(f"train.backend must be one of {', '.join(BACKENDS)}, got {train.backend!r}")
    _check_limits(train.limits)
    _check_objective(run.search.objective)
    if run.rerun not in RERUN:
        raise UsageError(f"rerun must be one of {', '.join(RERUN)}; got {run.rerun!r}")
    if run.threads is not None and not 1 <= run.threads <= MOST_THREADS:
        raise UsageError(f"threads must be at least 1 (and at most {MOST_THREADS}), or null, got {run.threads}")
    if not 0 <= run.seed < 2**31:
        raise UsageError(f"seed must be in [0, 2^31), got {run.seed}")
    if run.sphere.gain not in GAINS:
        raise UsageError(f"sphere.gain must be one of {', '.join(GAINS)}; got {run.sphere.gain!r}")
    lists = {"plugins": run.plugins, "sphere.exclude": run.sphere.exclude}
    lists |= {"mask.exclude": run.mask.exclude, "mask.include": run.mask.include}
    for key, names in lists.items():
        if not all(isinstance(name, str) for name in names):  # OmegaConf lets a list in a list of strings pass
            raise UsageError(f"{key} must be a list of names, got {names}")
    _check_values(run.to_dict(), "")


def _check_objective(names: list[str]) -> None:
    known = [name for name, one in record.FIELDS.items() if one.kind in record.DTYPES and one.role != "what"]
    for name in names:
        if name not in known:
            raise UsageError(f"search.objective: {name!r} is none of {', '.join(known)}{suggestion(str(name), known)}")
    if not names:
        raise UsageError(f"search.objective: name at least one of {', '.join(known)}")


def _check_limits(limits: Any) -> None:
    if limits is None:
        return
    numbers = limits.values() if isinstance(limits, Mapping) else [None]
    if not all(
        isinstance(limit, (int, float)) and not isinstance(limit, bool) and 0 <= limit <= 1 for limit in numbers
    ):
        raise UsageError(f"train.limits must be null, or layer names with densities in [0, 1]; got {limits}")


def _check_values(value: Any, key: str) -> None:
    """Numbers are finite; keys can be sorted; texts can be part of a path, a line and a file in UTF-8."""
    if isinstance(value, Mapping):
        if len({isinstance(name, str) for name in value}) > 1:
            raise UsageError(f"{key} mixes names and numbers as keys: {', '.join(map(str, value))}")
        for name, inner in value.items():
            _check_values(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{key} must be a finite number, got {value}")
    elif isinstance(value, str) and re.search(r"[\0-\x1f\ud800-\udfff]", value):
        raise UsageError(f"{key} must be text in UTF-8 without control characters, got {value!a}")
