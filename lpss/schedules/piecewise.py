"""Straight lines between knots."""

import bisect
from dataclasses import dataclass, field

from lpss.errors import UsageError
from lpss.registries import SCHEDULES


@SCHEDULES.register("piecewise")
class Piecewise:
    """Straight lines between `values` at `knots` (fractions of training), as in the authors' published demo."""

    label = "Piecewise linear"
    order = 4

    @dataclass
    class Config:
        knots: list[float] = field(default_factory=lambda: [0.0, 1.0])
        values: list[float] = field(default_factory=lambda: [1.0, 0.0])

    def __init__(self, config: Config):
        knots, values = config.knots, config.values
        if len(knots) != len(values) or knots[:1] != [0] or knots[-1:] != [1] or sorted(set(knots)) != knots:
            raise UsageError(
                f"schedule.knots must rise from 0 to 1, one for each of schedule.values; got {knots} and {values}"
            )
        if min(values) < 0:
            raise UsageError(f"schedule.values are factors of at least 0, got {values}")
        self.knots, self.values = knots, values

    def __call__(self, progress: float) -> float:
        right = min(bisect.bisect_right(self.knots, progress), len(self.knots) - 1)
        left = right - 1
        part = (progress - self.knots[left]) / (self.knots[right] - self.knots[left])
        return self.values[left] + (self.values[right] - self.values[left]) * min(part, 1.0)
