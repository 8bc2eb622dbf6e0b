"""Half a cosine, the shape of learning rates and of drop fractions."""

import math
from dataclasses import dataclass

from lpss.errors import UsageError
from lpss.registries import SCHEDULES


@SCHEDULES.register("cosine")
class Cosine:
    """Linear warm-up over a fraction of training, then half a cosine from 1 to `final`."""

    label = "Cosine"
    order = 2

    @dataclass
    class Config:
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


def cosine(progress: float) -> float:
    """Half a cosine from 1 at progress 0 to 0 at progress 1 (eq 4 without alpha); 0 after that."""
    return 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
