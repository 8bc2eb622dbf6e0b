"""No change over training."""

from dataclasses import dataclass

from lpss.registries import SCHEDULES


@SCHEDULES.register("constant")
class Constant:
    """1 throughout."""

    label = "Constant"
    order = 1

    @dataclass
    class Config:
        """No options."""

    def __init__(self, config: Config):
        pass

    def __call__(self, progress: float) -> float:
        return 1.0
