"""Up to which density a layer computes faster from its active weights: measured once on a machine, and kept.

A layer's time from its active weights is a constant and a part that grows with their number; both follow from two
measurements, and where they meet the time of the dense layer is its limit.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpss.engine.functions import SparseProduct
from lpss.engine.layout import to_layout
from lpss.engine.modules import conv_geometry, obstacle
from lpss.engine.pattern import PIXEL, Geometry, Pattern
from lpss.errors import LpssError
from lpss.files import write_text
from lpss.layers import Layer
from lpss.native import loader

log = logging.getLogger(__name__)
DENSITIES = (0.02, 0.2)  # that are measured
GAIN = 0.95  # of the dense time: what a layer must win to be changed
ROUNDS, SECONDS = 7, 0.3  # of a measurement at most, but two rounds


@dataclass(frozen=True)
class Job:
    """What a layer does with a batch of this size. `first`: whether it reads the net's input, which has no gradient."""

    weight: tuple[int, ...]
    batch: int
    geometry: Geometry = PIXEL
    bias: bool = False
    first: bool = False

    @property
    def input(self) -> tuple[int, ...]:
        """Shape of x."""
        sides = () if len(self.weight) == 2 else (self.geometry.height, self.geometry.width)
        return self.batch, self.weight[1], *sides


def limits(
    net: nn.Module, layers: Iterable[Layer], example: Tensor, batch: int, precision: str = "float32"
) -> dict[str, float]:
    """Layer name -> density up to which it computes faster from its active weights, 0 for never.

    Args:
        net, layers: of the net, those that are masked.
        example: one example, (1, ...), as the net takes it. batch: examples in a batch.
        precision: bfloat16 for dense products under autocast, else float32.

    Times are measured where this machine has not measured them before, with as many threads as torch uses now. torch's
    global generator stays as it is: a run's random numbers do not depend on what was measured before.
    """
    with torch.random.fork_rng(devices=()):
        return _limits(net, [layer for layer in layers if obstacle(layer) is None], example, batch, precision)


def _limits(net: nn.Module, layers: list[Layer], example: Tensor, batch: int, precision: str) -> dict[str, float]:
    jobs = jobs_of(net, layers, example, batch)
    path = loader.cache_folder() / "limits.json"
    known, found = _read(path), {}
    for job in jobs.values():
        key = _key(job, precision)
        if key not in known and key not in found:
            if not found:
                log.info("measuring up to which density layers are faster from their active weights (once)")
            found[key] = measure(job, precision)
    if found:
        _keep(path, found)
    return {name: (known | found)[_key(job, precision)] for name, job in jobs.items()}


def _key(job: Job, precision: str) -> str:
    return f"{job} {precision} {torch.get_num_threads()} threads, torch {torch.__version__}, {loader.identity()}"


def _read(path: Path) -> dict[str, float]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return {key: float(value) for key, value in read.items() if 0.0 <= value <= 1.0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep(path: Path, found: dict[str, float]) -> None:
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        write_text(path, json.dumps(_read(path) | found, indent=1))
    except (OSError, LpssError) as error:
        log.info("what was measured cannot be kept in %s: %s", path, error)


def jobs_of(net: nn.Module, layers: Iterable[Layer], example: Tensor, batch: int) -> dict[str, Job]:
    """Layer name -> what it does with a batch. A layer that the example does not reach is left out."""
    jobs: dict[str, Job] = {}

    def note(layer: Layer) -> Callable:
        def hook(module: nn.Module, inputs: tuple) -> None:
            x = inputs[0]
            images = isinstance(module, nn.Conv2d)
            rows = x.shape[0] if images else x[..., 0].numel()
            geometry = conv_geometry(module, x) if images else PIXEL
            has_bias = module.bias is not None
            jobs[layer.name] = Job(tuple(layer.shape), rows * batch, geometry, has_bias, not x.requires_grad)

        return hook

    handles = [layer.module.register_forward_pre_hook(note(layer)) for layer in layers]
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        with torch.enable_grad():
            net(example)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return jobs


def measure(job: Job, precision: str) -> float:
    """The limit of one layer."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(job.input, generator=draw)
    bias = torch.zeros(job.weight[0], requires_grad=True) if job.bias else None
    mask = torch.rand(job.weight, generator=draw) < DENSITIES[1]
    runs = [_dense(job, x, mask, bias, precision)]
    runs += [_sparse(job, x, torch.rand(job.weight, generator=draw) < density, bias) for density in DENSITIES]
    dense, low, high = best_times(runs)
    slope = max((high - low) / (DENSITIES[1] - DENSITIES[0]), 1e-12)
    return round(min(1.0, max(0.0, (GAIN * dense - (low - slope * DENSITIES[0])) / slope)), 3)


def best_times(runs: list[Callable[[], None]]) -> list[float]:
    """The shortest time of each, in seconds; they take turns."""
    best, begun = [float("inf")] * len(runs), time.perf_counter()
    for number in range(ROUNDS):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if number:  # the first round allocates
                best[index] = min(best[index], time.perf_counter() - start)
        if number > 1 and time.perf_counter() - begun > SECONDS:
            break
    return best


def _dense(job: Job, x: Tensor, mask: Tensor, bias: Tensor | None, precision: str) -> Callable[[], None]:
    """A dense layer's passes, and what its gradient's mask costs."""
    images = x.dim() == 4
    form = torch.channels_last if images else torch.contiguous_format
    x = x.contiguous(memory_format=form).requires_grad_(not job.first)
    weight = (torch.randn(job.weight) * mask).contiguous(memory_format=form).requires_grad_()
    factor = mask.to(weight).contiguous(memory_format=form)
    gradient: list[Tensor] = []

    def run() -> None:
        x.grad = weight.grad = None
        with torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext():
            if images:
                y = F.conv2d(x, weight, bias, job.geometry.stride, job.geometry.padding)
            else:
                y = F.linear(x, weight, bias)
        gradient or gradient.append(torch.randn_like(y))
        y.backward(gradient[0])
        weight.grad.mul_(factor)

    return run


def _sparse(job: Job, x: Tensor, mask: Tensor, bias: Tensor | None) -> Callable[[], None]:
    pattern = Pattern(mask)
    x = to_layout(x).requires_grad_(not job.first)
    values = torch.randn(len(pattern), requires_grad=True)
    gradient: list[Tensor] = []

    def run() -> None:
        x.grad = values.grad = None
        y = SparseProduct.apply(x, values, bias, pattern, job.geometry, lambda: False, None)
        gradient or gradient.append(to_layout(torch.randn(y.shape)))
        y.backward(gradient[0])

    return run
