"""The precision in which the CPU trains a net faster: measured once on a machine, and kept."""

import copy
import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpss.engine.measured import best_times, conditions, keep, recall
from lpss.engine.memory import keep_freed_memory
from lpss.engine.modules import exchange_between
from lpss.native import loader

log = logging.getLogger(__name__)
FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of processors that multiply bfloat16 (the last: ARM)
MARGIN = 0.1  # of its time in bfloat16: what a step in float32 must take longer
FILE = "steps.json"


def faster_precision(net: nn.Module, example: Tensor, batch: int, *, fused: bool) -> str:
    """`bfloat16` where this processor trains the net clearly faster by autocast, else `float32`.

    Args:
        net: on the CPU, dense; it stays as it is, as does torch's global generator.
        example: one example, (1, ...), as the net takes it. batch: examples in a batch.
        fused: whether norms of images will do the ReLU and residual that follow them (`exchange_between`).

    A processor without instructions for bfloat16 is not asked: torch imitates them there, at a large multiple of the
    time. A net that cannot be copied, or computes nothing in bfloat16, trains in float32.
    """
    if not FLAGS & set(loader.processor().split()):
        return "float32"
    key = f"{_fingerprint(net)} {batch} x {tuple(example.shape[1:])} {'fused ' * fused}{conditions()}"
    times = recall(FILE, _sound).get(key)
    if times is None:
        log.info("measuring whether the net trains faster in bfloat16 (once)")
        try:
            times = _measure(net, example, batch, fused)
        except Exception as error:  # nets may fail in any way; one that fails in float32, too, does so in training
            log.info("the net cannot be measured in bfloat16 (%s): it trains in float32", error)
            return "float32"
        keep(FILE, {key: times}, _sound)
    float32, bfloat16 = times
    return "bfloat16" if float32 > (1 + MARGIN) * bfloat16 else "float32"


def autocast(precision: str) -> AbstractContextManager:
    """Within it the CPU computes in this precision, float32 or bfloat16."""
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if precision == "bfloat16" else nullcontext()


def _fingerprint(net: nn.Module) -> str:
    parts = [repr(net), *(f"{name} {tuple(value.shape)}" for name, value in net.state_dict().items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _sound(times: object) -> bool:
    return isinstance(times, list) and len(times) == 2 and all(isinstance(one, float) and one > 0 for one in times)


def _measure(net: nn.Module, example: Tensor, batch: int, fused: bool) -> list[float]:
    """Seconds of forward and backward pass in float32 and bfloat16."""
    keep_freed_memory()  # as in a run
    net = copy.deepcopy(net).train()
    if fused:
        exchange_between(net, sparse=False)
    with torch.random.fork_rng(devices=()):
        x = torch.randn(batch, *example.shape[1:], generator=torch.Generator().manual_seed(0))
        if x.dim() == 4 and example.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        return [round(seconds, 8) for seconds in best_times([_pass(net, x, one) for one in ("float32", "bfloat16")])]


def _pass(net: nn.Module, x: Tensor, precision: str) -> Callable[[], None]:
    y = torch.zeros(len(x), dtype=torch.int64)

    def run() -> None:
        net.zero_grad()
        with autocast(precision):
            loss = F.cross_entropy(net(x), y)
        loss.backward()

    return run
