"""How the steps of a run are computed: precision, memory format, compiled or not, captured or not."""

import logging
from dataclasses import asdict, dataclass
from importlib.util import find_spec

import torch
from torch import nn

from lpss.config import TrainConfig

log = logging.getLogger("lpss")
WORTH_COMPILING = 1000  # steps: compiling takes about a minute


@dataclass(frozen=True)
class ComputeOptions:
    """What `auto` in a TrainConfig means on a device.

    precision: `float32` (products of matrices in full float32), `tf32` (in TF32 where the GPU has it) or `bfloat16`
        (autocast of forward pass and loss). Weights, gradients and optimizer are float32 in each. `auto` is left open:
        see precision.py.
    channels_last: memory order of images and conv weights.
    compile: the net through torch.compile. capture: the step through a CUDA graph.
    """

    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    capture: bool = False

    @classmethod
    def choose(cls, train: TrainConfig, device: torch.device, *, steps: int, processes: int = 1) -> "ComputeOptions":
        """Resolve `auto`, and say in one line what was asked for and cannot be had here."""
        cuda = device.type == "cuda"
        compilable = find_spec("triton") is not None if cuda else True
        channels_last = not cuda or train.precision not in ("float32", "auto")
        return cls(
            precision=train.precision,
            channels_last=channels_last if train.channels_last == "auto" else train.channels_last,
            compile=_have(
                train.compile,
                wanted=cuda and steps >= WORTH_COMPILING,
                possible=compilable,
                line="train.compile=true needs Triton on a GPU, which is not installed: the net is not compiled",
            ),
            capture=_have(
                train.capture,
                wanted=cuda,
                possible=cuda and processes == 1,
                line="train.capture=true needs a CUDA device and a single process: steps are not captured",
            ),
        )

    def apply(self, net: nn.Module, device: torch.device) -> nn.Module:
        """Set torch's switches for the process and the net's memory format; returns the net."""
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
            torch.backends.cudnn.benchmark = True  # shapes never change within a run
        return net.to(memory_format=torch.channels_last) if self.channels_last else net

    def to_dict(self) -> dict:
        return asdict(self)


EAGER = ComputeOptions()


def _have(asked: bool | str, *, wanted: bool, possible: bool, line: str) -> bool:
    if asked is True and not possible:
        log.warning(line)
    return possible and (wanted if asked == "auto" else asked)
