"""What a tracker is, and what it is told of a run."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from lpss import options
from lpss.record import FIELDS, integer, real, text

# Fields of run.json that are shown as results.
NUMBERS = tuple(name for name, one in FIELDS.items() if one.kind in (real, integer) and one.role in ("result", "time"))


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it.

    folder: its own; output: that of all runs, which holds it. label: its name for people. group: experiment, data set
    and model, which runs that are worth comparing share. config: dotted key -> number, truth value or text.
    """

    folder: Path
    output: Path
    hash: str
    label: str
    group: str
    config: Mapping[str, float | bool | str]


class Tracker:
    """Shows a run elsewhere than in its folder; a class overrides the hooks that it needs.

    Hooks are called one at a time, each in a thread of its own. One that raises something, or takes longer than a
    minute, is the last that is called: a warning says so, and training goes on. They must leave as it is what others
    share, such as sys.stdout, signals and the levels of loggers.
    """

    packages: tuple[str, ...] = ()  # what it imports that may not be installed

    @dataclass
    class Config:
        """No options."""

    def __init__(self, config: Config):
        self.config = config

    def start(self, run: TrackedRun, id: str, logged: int) -> int:
        """Begin the run called `id`, or go on with it where it exists: after an interruption `id` is the same.

        `logged` is the last epoch that was logged under this id, 0 for none. Returns the last epoch that needs no
        logging: `logged`, unless the tracker knows better.
        """
        return logged

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """The metrics (`epoch_metrics`) of an epoch; the first is number 1."""

    def log_result(self, numbers: Mapping[str, float], layers: pd.DataFrame, picture: Image.Image | None) -> None:
        """What came out of a run that has ended.

        numbers: the `NUMBERS` that it has, by "result/" and the field's name. layers: layers.csv, a row a layer.
        picture: its accuracy and sparsity; None for a run that diverged.
        """

    def close(self, status: str) -> None:
        """The run has ended (finished, diverged), or is left (failed, interrupted) and may go on later."""


def epoch_metrics(row: Mapping[str, float], layers: Iterable[Mapping] = ()) -> dict[str, float]:
    """Name -> value: a row of metrics.csv as it is, then sparsity/LAYER and hoyer_sparsity/LAYER from layers' rows."""
    metrics = dict(row)
    for layer in layers:
        name = layer["layer"] or "net"
        metrics[f"sparsity/{name}"] = layer["sparsity_reached"]
        metrics[f"hoyer_sparsity/{name}"] = layer["hoyer_sparsity"]
    return metrics


def result_numbers(result: Mapping) -> dict[str, float]:
    """The `NUMBERS` that a run's record has, by "result/" and the field's name."""
    found = {name: result.get(name) for name in NUMBERS}
    return {f"result/{name}": value for name, value in found.items() if value is not None and not math.isnan(value)}


def flat(config: Mapping) -> dict[str, float | bool | str]:
    """Dotted key -> number, truth value or text; null becomes "", a list JSON."""
    leaves = options.flat(config)
    return {name: value if isinstance(value, (bool, int, float)) else text(value) for name, value in leaves}
