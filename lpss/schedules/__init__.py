"""Schedules: training progress in [0, 1] -> a factor on learning rates. Pure functions of progress, so they resume for
free. A new one is a file here and a yaml in conf/schedule/ (see lpss/registry.py).
"""

from collections.abc import Callable, Mapping

from lpss.registries import SCHEDULES

__all__ = ["SCHEDULES", "build_schedule"]


def build_schedule(values: Mapping) -> Callable[[float], float]:
    """The schedule that a `schedule` config describes. Raises UsageError for unknown names or options."""
    return SCHEDULES.find(values.get("name"))(SCHEDULES.options(values))
