"""Steps down at milestones."""

import bisect
from dataclasses import dataclass, field

from lpss.errors import UsageError
from lpss.registries import SCHEDULES


@SCHEDULES.register("multistep")
class MultiStep:
    """Times `gamma` at each milestone (fractions of training)."""

    label = "Multistep"
    order = 3

    @dataclass
    class Config:
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
