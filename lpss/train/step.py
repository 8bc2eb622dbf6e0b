"""One training step: gradients, then the method (topology, masks, optimizer); as it is, compiled, or captured.

A captured step is two CUDA graphs, one for the gradients and one for the descent. Between them the method may change
masks from Python: it does so in place, so both graphs go on with the same tensors. Learning rates live in tensors then,
and nothing is read by the host.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpss.sparse.methods import Method
from lpss.train.compute import EAGER, ComputeOptions

log = logging.getLogger("lpss")
AT_ONCE = 64  # batches whose losses and hits are added up together
WARM_UP = 3  # steps before a capture: libraries choose and load their kernels in them


class Recorder(Protocol):
    """What makes captured pieces: CUDA graphs, or in tests something that behaves like them on a CPU."""

    def warm_up(self) -> AbstractContextManager:
        """Where the steps before a capture run."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what the function launches, without running it; returns what runs it again on the same tensors."""


class CudaGraphs:
    """CUDA graphs as torch makes them."""

    def __init__(self):
        self.side = torch.cuda.Stream()

    @contextmanager
    def warm_up(self):
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            yield
        torch.cuda.current_stream().wait_stream(self.side)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
        return graph.replay


class TrainStep:
    """Call it with a batch and the schedule's factor on every group's learning rate (`base_lr`).

    `model` is what is called on a batch, where that is not the net itself (a wrapper that shares its parameters).
    """

    def __init__(
        self, net: nn.Module, method: Method, modes: ComputeOptions = EAGER, *, model: nn.Module | None = None
    ):
        self.net, self.method, self.modes = net, method, modes
        self.device = next(net.parameters()).device
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.losses: list[Tensor] = []  # not in the sums yet
        self.outputs: list[tuple[Tensor, Tensor]] = []
        self.plain = model or net
        self.model = torch.compile(self.plain) if modes.compile else self.plain
        self.compiled = False  # whether a compiled step has been seen to work
        self.taken = False  # whether a step has been taken
        for group in method.optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])

    @property
    def captured(self) -> bool:
        """Whether steps are replayed from a captured one."""
        return False

    def __call__(self, x: Tensor, y: Tensor, factor: float) -> None:
        self.set_lr(factor)
        self.gradients(x, y)
        self.method.step()

    def set_lr(self, factor: float) -> None:
        self.taken = True
        for group in self.method.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    def gradients(self, x: Tensor, y: Tensor) -> None:
        """Forward and backward pass: fills the parameters' gradients, adds to the totals."""
        if self.model is self.plain or self.compiled:
            self._gradients(x, y)
            return
        try:
            self._gradients(x, y)
            self.compiled = True
        except Exception as error:  # a compiler may fail in any way; what fails uncompiled too is then raised
            log.warning("train.compile: the net cannot be compiled (%s): it runs uncompiled", _first_line(error))
            self.model = self.plain
            self._gradients(x, y)

    def _gradients(self, x: Tensor, y: Tensor) -> None:
        with self._autocast():
            logits = self.model(x)
            loss = F.cross_entropy(logits, y)
        self.method.optimizer.zero_grad()
        if self.method.looks_at_outputs:
            self.method.before_backward(logits, y)
        loss.backward()
        self._count(loss.detach(), logits.detach(), y)

    def _autocast(self) -> AbstractContextManager:
        if self.modes.precision != "bfloat16":
            return nullcontext()
        # No cache of cast weights: it would outlive the captured piece that it was made in.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def _count(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        # Added up now and then: at every step it would take a small net a twentieth of its time.
        self.losses.append(loss)
        self.outputs.append((logits, y))
        if len(self.losses) == AT_ONCE:
            self.sums = self.totals()
            self.losses.clear()
            self.outputs.clear()

    def totals(self) -> Tensor:
        """(2,) float64 on the device: sums of the losses and of the correct predictions since `reset_totals`.

        Asking for them changes nothing: losses are always added up in the same groups.
        """
        sums = self.sums.clone()
        if self.losses:
            sums[0] += torch.stack(self.losses).sum(dtype=torch.float64)
        if self.outputs:
            sums[1] += _correct(*map(torch.cat, zip(*self.outputs, strict=True)))
        return sums

    def reset_totals(self) -> None:
        """Begin to count anew."""
        self.losses.clear()
        self.outputs.clear()
        self.sums.zero_()

    def state_dict(self) -> dict:
        """The sums so far."""
        correct = self.totals()[1].item()
        return {"sums": self.sums.clone(), "losses": [loss.clone() for loss in self.losses], "correct": correct}

    def load_state_dict(self, state: dict) -> None:
        self.sums.copy_(state["sums"])
        self.sums[1] = state["correct"]  # whole numbers: the order in which they were added changes nothing
        self.losses, self.outputs = list(state["losses"]), []


class CapturedStep(TrainStep):
    """The same step, replayed from its fourth call on. Every batch must have the same shape.

    Where capturing fails, it says so in one line and goes on uncaptured.
    """

    def __init__(self, net: nn.Module, method: Method, modes: ComputeOptions, recorder: Recorder, **options):
        super().__init__(net, method, modes, **options)
        self.recorder: Recorder | None = recorder
        self.warm = 0
        self.replay_gradients: Callable[[], None] | None = None
        for group in method.optimizer.param_groups:
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=self.device).clone()

    @property
    def captured(self) -> bool:
        return self.replay_gradients is not None

    def _count(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        self.sums.add_(torch.stack((loss.double(), _correct(logits, y))))  # within the captured piece

    def set_lr(self, factor: float) -> None:
        if self.recorder is None:
            super().set_lr(factor)
            return
        self.taken = True
        for group in self.method.optimizer.param_groups:
            group["lr"].fill_(group["base_lr"] * factor)

    def __call__(self, x: Tensor, y: Tensor, factor: float) -> None:
        if self.recorder is not None and self.warm < WARM_UP:
            self.warm += 1
            with self.recorder.warm_up():
                super().__call__(x, y, factor)
            return
        if self.recorder is not None and self.replay_gradients is None:
            self._capture(x, y)
        if self.recorder is None:
            super().__call__(x, y, factor)
            return
        self.set_lr(factor)
        self.x.copy_(x)
        self.y.copy_(y)
        self.replay_gradients()
        self.method.step(self.replay_optimizer_step)

    def _capture(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x.clone(), y.clone()
        try:
            replay = self.recorder.record(lambda: self.gradients(self.x, self.y))
            self.replay_optimizer_step = self.recorder.record(self.method.optimizer_step)
            self.replay_gradients = replay
        except Exception as error:  # anything that reads the device, in a net or an optimizer that we do not know
            log.warning("train.capture: the step cannot be captured (%s): it runs uncaptured", _first_line(error))
            self.recorder = None


def make_step(net: nn.Module, method: Method, modes: ComputeOptions, *, model: nn.Module | None = None) -> TrainStep:
    """The step that the modes ask for."""
    if modes.capture and method.capturable:
        return CapturedStep(net, method, modes, CudaGraphs(), model=model)
    return TrainStep(net, method, modes, model=model)


def _correct(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(1) == y).sum()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
