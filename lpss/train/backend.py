"""Which of a run's layers compute from their active weights alone (`train.backend`), and what of it is in files."""

import logging

import torch
from torch import Tensor, nn

from lpss.config import TrainConfig
from lpss.engine.accelerate import Acceleration, accelerate
from lpss.engine.memory import keep_freed_memory
from lpss.engine.products import code_path
from lpss.engine.rule import limits
from lpss.sparse.methods import Method
from lpss.train.compute import ComputeOptions

log = logging.getLogger("lpss")


class Backend:
    """A run's backend: `dense`, `sparse` or `auto`, which also has a dense net's norms do the ReLU after them.

    limits: of `auto`, layer name -> density up to which it computes from its active weights. A checkpoint and run.json
    (as `train.limits`, which is set here) hold them, so that a run goes on, or is run again, as it was.
    """

    def __init__(
        self,
        train: TrainConfig,
        net: nn.Module,
        method: Method,
        example: Tensor,
        modes: ComputeOptions,
        device: torch.device,
        processes: int = 1,
    ):
        self.train, self.net, self.method = train, net, method
        self.name, self.limits = train.backend, None
        recorded, train.limits = train.limits, None
        self.acceleration: Acceleration | None = None
        self.at_end: list[str] | None = None  # layers that computed sparse when training ended
        if device.type == "cpu":
            keep_freed_memory()
        reason = obstacle(modes, device, processes)
        if reason is not None:
            if self.name == "sparse":
                log.warning("train.backend=sparse: %s: the net computes dense", reason)
            self.name = "dense"
        if self.name == "dense" or self.name == "sparse" and not method.masks_gradients:
            return
        if self.name == "auto" and method.masks_gradients:
            self._limit(
                recorded or limits(net, method.masks.layers.values(), example, train.batch_size, modes.precision)
            )
        self.acceleration = accelerate(net, method, self.limits)
        if not method.masks_gradients:
            return  # norms alone have been exchanged
        level = logging.WARNING if self.name == "sparse" and self.acceleration.dense else logging.INFO
        log.log(level, "train.backend=%s: %s", self.name, self.acceleration.line())

    def _limit(self, limits: dict[str, float]) -> None:
        """Go by these limits, which the run's record is to hold."""
        self.limits = self.train.limits = limits

    def to_dict(self) -> dict:
        """For run.json."""
        if self.acceleration is None:
            return {"backend": self.name}
        layers = self.acceleration.sparse_now() if self.at_end is None else self.at_end
        return {"backend": self.name, "sparse_layers": layers, "products": code_path()}

    def state_dict(self) -> dict:
        """The limits."""
        return {"limits": self.limits}

    def load_state_dict(self, state: dict) -> None:
        """Take the limits of the run that goes on, if both are `auto`."""
        if self.limits is not None and state["limits"] not in (None, self.limits):
            self._limit(state["limits"])
            self.acceleration.undo()
            self.acceleration = accelerate(self.net, self.method, self.limits)

    def undo(self) -> None:
        """Make the net what it would be without; training has ended."""
        if self.acceleration is not None and self.at_end is None:
            self.at_end = self.acceleration.sparse_now()
            self.acceleration.undo()


def obstacle(modes: ComputeOptions, device: torch.device, processes: int) -> str | None:
    """Why no layer of the run can compute sparse."""
    if device.type != "cpu":
        return f"on {device.type} dense products with masks are faster than sparse ones"
    if processes > 1:
        return "several processes share the training"
    return "a compiled net cannot change its layers" if modes.compile else None
