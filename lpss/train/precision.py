"""What `train.precision=auto` comes to in a run, and what of it is in files."""

import logging
from dataclasses import replace

from torch import Tensor, nn

from lpss.config import TrainConfig
from lpss.engine.precision import faster_precision
from lpss.train.backend import obstacle
from lpss.train.compute import ComputeOptions
from lpss.train.distributed import Processes
from lpss.train.step import TrainStep

log = logging.getLogger("lpss")


def settle(
    modes: ComputeOptions, train: TrainConfig, net: nn.Module, example: Tensor, processes: Processes
) -> ComputeOptions:
    """The modes with what `auto` comes to: what a record says (`train.measured_precision`, which is set here), what the
    CPU measures, or float32 on GPUs: what is faster there depends on what `compile` and `capture` make of the net.

    Args:
        net: not accelerated yet. example: one example, (1, ...), as the net takes it.
    """
    recorded, train.measured_precision = train.measured_precision, None
    if modes.precision != "auto":
        return modes
    chosen = recorded or processes.broadcast_object(
        _measured(modes, train, net, example, processes.size) if processes.is_main else None
    )
    train.measured_precision = chosen
    log.info("train.precision=auto: %s", chosen)
    return replace(modes, precision=chosen)


def _measured(modes: ComputeOptions, train: TrainConfig, net: nn.Module, example: Tensor, processes: int) -> str:
    if example.device.type != "cpu":
        return "float32"
    fused = train.backend != "dense" and obstacle(modes, example.device, processes) is None
    return faster_precision(net, example, train.batch_size // processes, fused=fused)


class AutoPrecision:
    """The precision of a run's steps, for its checkpoint: the run goes on in the one that it began with."""

    def __init__(self, train: TrainConfig, step: TrainStep):
        self.train, self.step = train, step

    def state_dict(self) -> dict:
        """The precision."""
        return {"precision": self.step.modes.precision}

    def load_state_dict(self, state: dict) -> None:
        """Take the precision of the run that goes on."""
        self.train.measured_precision = state["precision"]
        self.step.modes = replace(self.step.modes, precision=state["precision"])
