"""Schedules: training progress in [0, 1] -> a factor. Pure functions of progress, so they resume for free."""

import bisect
import math
from dataclasses import dataclass, field

from lpss.errors import UsageError
from lpss.registry import Registry

SCHEDULES = Registry("schedule")


@SCHEDULES.register("constant")
class Constant:
    """1 throughout."""

    @dataclass
    class Config:
        name: str = "constant"

    def __init__(self, config: Config):
        pass

    def __call__(self, progress: float) -> float:
        return 1.0


@SCHEDULES.register("cosine")
class Cosine:
    """Linear warm-up over a fraction of training, then half a cosine from 1 to `final`."""

    @dataclass
    class Config:
        name: str = "cosine"
        warmup: float = 0.0
        final: float = 0.0

    def __init__(self, config: Config):
        if not 0 <= config.warmup < 1:
            raise UsageError(f"schedule.warmup is a fraction of training in [0, 1), got {config.warmup}")
        if not 0 <= config.final <= 1:
            raise UsageError(f"schedule.final is a factor in [0, 1], got {config.final}")
        self.warmup, self.final = config.warmup, config.final

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return max(progress / self.warmup, 1e-3)  # a first step of exactly zero would be wasted
        return self.final + (1 - self.final) * cosine((progress - self.warmup) / (1 - self.warmup))


@SCHEDULES.register("multistep")
class MultiStep:
    """Times `gamma` at each milestone (fractions of training)."""

    @dataclass
    class Config:
        name: str = "multistep"
        milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])
        gamma: float = 0.1

    def __init__(self, config: Config):
        if sorted(config.milestones) != config.milestones or any(not 0 < at < 1 for at in config.milestones):
            raise UsageError(f"schedule.milestones must rise, fractions of training in (0, 1); got {config.milestones}")
        if not 0 < config.gamma <= 1:
            raise UsageError(f"schedule.gamma must be in (0, 1], got {config.gamma}")
        self.milestones, self.gamma = config.milestones, config.gamma

    def __call__(self, progress: float) -> float:
        return self.gamma ** bisect.bisect_right(self.milestones, progress)


@SCHEDULES.register("piecewise")
class Piecewise:
    """Straight lines between `values` at `knots` (fractions of training), as in the authors' published demo."""

    @dataclass
    class Config:
        name: str = "piecewise"
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


def cosine(progress: float) -> float:
    """Half a cosine from 1 at progress 0 to 0 at progress 1 (eq 4 without alpha); 0 after that."""
    return 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
