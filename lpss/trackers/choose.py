"""From `tracker` in a config, name -> options, to the trackers."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec

from lpss.errors import LpssError, UsageError
from lpss.options import make_options
from lpss.registries import TRACKERS
from lpss.trackers.base import Tracker


def complete_trackers(chosen: Mapping[str, Mapping]) -> dict[str, dict]:
    """Every option of every chosen tracker. Raises UsageError, naming the key."""
    return {name: asdict(_options(name, values)) for name, values in chosen.items()}


def choose_trackers(chosen: Mapping[str, Mapping]) -> dict[str, Tracker]:
    """Name -> tracker, none of them started. Raises UsageError, and LpssError where a package is not installed."""
    trackers = {}
    for name, values in chosen.items():
        tracker = TRACKERS.find(name)(_options(name, values))
        if missing := [package for package in tracker.packages if not _is_installed(package)]:
            what = f'"lpss[{name}]"' if tracker.__module__.startswith("lpss.") else " ".join(missing)
            raise LpssError(f"tracker={name} needs {' and '.join(missing)}: pip install {what}")
        trackers[name] = tracker
    return trackers


def _is_installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # a folder of that name (W&B makes ./wandb) has no origin


def _options(name: str, values: Mapping):
    config_class = TRACKERS.find(name).Config
    if not isinstance(values, Mapping):
        raise UsageError(f"tracker.{name} must hold its options, got {values!r}")
    return make_options(config_class, values, f"tracker.{name}")
