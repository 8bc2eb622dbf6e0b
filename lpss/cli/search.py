"""What a sweeper that searches, such as Optuna's, is told of a run, and what it may not look at: the test set."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lpss.config import RunConfig
from lpss.errors import LpssError, UsageError

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # which tries all combinations


def register_resolver() -> None:
    """`${made:FOLDER}` in a yaml: the folder, which is there from then on (a study's file is opened before any run)."""
    OmegaConf.register_new_resolver("made", _made, replace=True)


def _made(folder: str) -> str:
    try:
        Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LpssError(f"output: {folder} cannot be used: {error.strerror}") from None
    return folder


def check_search(run: RunConfig, sweeper: DictConfig) -> None:
    """Raises UsageError for a sweeper that would search on the test set, or in the wrong direction."""
    if sweeper.get("_target_") == BASIC:
        return
    if not run.train.validation and not run.search.on_test:
        raise UsageError(
            "a search for settings must not look at the test set: hold out a part of the training set with "
            "train.validation=0.2 (or say search.on_test=true, and report it)"
        )
    if "direction" in sweeper:
        _check_directions(run.search.objective, sweeper.direction)


def _check_directions(objective: Sequence[str], direction: Any) -> None:
    listed = list(direction) if OmegaConf.is_list(direction) else [direction]
    directions = [getattr(one, "name", str(one)) for one in listed]
    if len(directions) != len(objective):
        raise UsageError(
            f"hydra.sweeper.direction={','.join(directions)}: one for each of search.objective, {', '.join(objective)}"
        )
    for name, asked in zip(objective, directions, strict=True):
        wanted = "maximize" if name.startswith("accuracy") else "minimize" if name.startswith("loss") else asked
        if asked != wanted:
            raise UsageError(
                f"hydra.sweeper.direction={asked} for {name}: say hydra.sweeper.direction={wanted} "
                f"(Optuna's default is to minimise; hydra/sweeper=search has it right)"
            )


def objective(result: Mapping[str, Any], names: Sequence[str]) -> float | list[float]:
    """What the sweeper is told: the fields of run.json called so, the worst where a run has diverged."""
    values = [_value(result, name) for name in names]
    return values[0] if len(values) == 1 else values


def _value(result: Mapping[str, Any], name: str) -> float:
    value = result.get(name)
    if value is None or math.isnan(value):
        return 0.0 if name.startswith("accuracy") else math.inf
    return float(value)
