"""Up to which density layers compute faster from their active weights: measured once on a machine, and kept.

A layer's times are measured by itself, dense and sparse at some densities. Which layers of a net then compute sparse is
told for the net as a whole: where a dense layer meets a sparse one activations are copied, and unless the gain is clear
the net stays dense.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpss.engine.functions import SparseProduct
from lpss.engine.layout import from_layout, to_layout
from lpss.engine.measured import best_times, conditions, keep, recall
from lpss.engine.modules import conv_geometry, obstacle
from lpss.engine.pattern import PIXEL, Geometry, Pattern
from lpss.engine.precision import autocast
from lpss.layers import Layer

log = logging.getLogger(__name__)
DENSITIES = (0.02, 0.2, 0.5)  # that are measured
OWN = 30e-6  # seconds that a sparse layer's module and the method's work on it take beside
MARGIN = 0.15  # of the dense time of all its layers: what a net must win
FILE = "times.json"


@dataclass(frozen=True)
class Job:
    """What a layer does with a batch of this size. `first`: whether it reads the net's input, which has no gradient."""

    weight: tuple[int, ...]
    batch: int
    geometry: Geometry = PIXEL
    bias: bool = False
    first: bool = False

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of y."""
        return self.batch, self.weight[0], *(() if len(self.weight) == 2 else self.geometry.output)

    @property
    def input(self) -> tuple[int, ...]:
        """Shape of x."""
        sides = () if len(self.weight) == 2 else (self.geometry.height, self.geometry.width)
        return self.batch, self.weight[1], *sides


@dataclass(frozen=True)
class Times:
    """Seconds of a layer in a training step.

    dense: from whole weights. sparse: from its active weights, at DENSITIES. copies: of what it reads and gives and of
    their gradients, from one layout to the other.
    """

    dense: float
    sparse: tuple[float, ...]
    copies: float

    def saved(self, density: float) -> float:
        """What its active weights save, linear between what was measured and beyond it."""
        upper = next((k for k in range(1, len(DENSITIES) - 1) if density <= DENSITIES[k]), len(DENSITIES) - 1)
        (x0, x1), (y0, y1) = DENSITIES[upper - 1 : upper + 1], self.sparse[upper - 1 : upper + 1]
        return self.dense - (y0 + (y1 - y0) * (density - x0) / (x1 - x0)) - OWN


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
        jobs = jobs_of(net, [layer for layer in layers if obstacle(layer) is None], example, batch)
        return limits_from(_times(jobs, precision))


def limits_from(times: Mapping[str, Times]) -> dict[str, float]:
    """Layer name -> limit, from the layers' times: that of the net where all have one density, or the layer's own."""
    densities = [k / 100 for k in range(1, 101)]
    net = _last(densities, lambda density: _worthwhile(times, density))
    own = {name: _last(densities, lambda density, one=one: one.saved(density) > 0) for name, one in times.items()}
    return {name: min(net, limit) for name, limit in own.items()}


def _last(densities: list[float], holds: Callable[[float], bool]) -> float:
    """The last density up to which it holds throughout; 0 if there is none."""
    return max(takewhile(holds, densities), default=0.0)


def _worthwhile(times: Mapping[str, Times], density: float) -> bool:
    """Whether the net gains clearly where the layers that gain compute sparse, at this density."""
    saved = {name: one.saved(density) for name, one in times.items()}
    chosen = {name for name, seconds in saved.items() if seconds > 0}
    copies = [0.0, 0.0]  # around layers that stay dense, around sparse ones: the fewer make the borders
    for name, one in times.items():
        copies[name in chosen] += one.copies
    gain = sum(saved[name] for name in chosen) - min(copies)
    return gain > MARGIN * sum(one.dense for one in times.values())


def _times(jobs: Mapping[str, Job], precision: str) -> dict[str, Times]:
    """Layer name -> its times, of which the machine keeps what it has measured."""
    kept = recall(FILE, _sound).items()
    known, found = {key: Times(dense, tuple(sparse), copies) for key, (dense, sparse, copies) in kept}, {}
    for job in jobs.values():
        key = _key(job, precision)
        if key not in known and key not in found:
            if not found:
                log.info("measuring how fast layers are from their active weights (once)")
            found[key] = measure(job, precision)
    if found:
        keep(FILE, {key: (one.dense, one.sparse, one.copies) for key, one in found.items()}, _sound)
    return {name: (known | found)[_key(job, precision)] for name, job in jobs.items()}


def _key(job: Job, precision: str) -> str:
    return f"{job} {precision} {conditions()}"


def _sound(kept: object) -> bool:
    """Whether these are times, as the file has them."""
    try:
        dense, sparse, copies = kept
        return len(sparse) == len(DENSITIES) and min(dense, *sparse, copies) >= 0
    except (ValueError, TypeError):
        return False


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


def measure(job: Job, precision: str) -> Times:
    """The times of one layer."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(job.input, generator=draw)
    bias = torch.zeros(job.weight[0], requires_grad=True) if job.bias else None
    masks = [torch.rand(job.weight, generator=draw) < density for density in DENSITIES]
    runs = [
        _dense(job, x, masks[1], bias, precision),
        *(_sparse(job, x, mask, bias) for mask in masks),
        _copies(job, x),
    ]
    dense, *sparse, copies = (round(seconds, 8) for seconds in best_times(runs))
    return Times(dense, tuple(sparse), copies)


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
        with autocast(precision):
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


def _copies(job: Job, x: Tensor) -> Callable[[], None]:
    """To the kernels' layout and back: x, its gradient, y and y's gradient."""
    back = from_layout if x.dim() == 4 else Tensor.contiguous
    pairs = [(z, to_layout(z)) for z in (x, x, torch.randn(job.output), torch.randn(job.output))][job.first :]

    def run() -> None:
        for plain, inside in pairs:
            to_layout(plain)
            back(inside)

    return run
