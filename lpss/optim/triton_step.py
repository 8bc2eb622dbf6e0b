"""The GPU's fast path: one Triton launch per weight, one program per neuron, with its row in registers.

Like lpss/native/sphere.c it does the arithmetic of steps.py on float32 weights, equal up to float32 rounding, but reads
and writes each array once. A launch neither allocates nor waits, so that a CUDA graph can hold it (take a step before
the capture: the first one compiles). Where Triton is missing or broken, or with LPSS_NATIVE=0 in the environment, the
tensor code runs instead.
"""

import logging
import os
from functools import cache

import torch
from torch import Tensor

from lpss import sphere

log = logging.getLogger(__name__)

MAX_FAN_IN = 16384  # longer rows do not fit into the registers of 16 warps
MAX_WHOLE = 16  # the largest exponent that the kernels multiply out


def usable(*tensors: Tensor, eta: float | Tensor) -> bool:
    """Whether the kernels can move these tensors: contiguous float32 rows on one GPU, eta a number or a scalar."""
    device = tensors[0].device
    return (
        device.type == "cuda"
        and tensors[0].dim() == 2
        and all(x.dtype == torch.float32 and x.device == device and x.is_contiguous() for x in tensors)
        and 0 < tensors[0].numel() <= MAX_FAN_IN * tensors[0].shape[0]
        and _is_eta(eta, device)
        and not torch.compiler.is_compiling()
        and kernel_available()
        and _works(device)
    )


def step(tensors: tuple[Tensor, ...], skipped: Tensor, **options) -> None:
    """Move a weight in place: `lpsgdm_step` of (weight, v, mu, gradient), or `lpsgd_step` of (weight, gradient)."""
    (lpsgdm_step if len(tensors) == 4 else lpsgd_step)(*tensors, skipped, **options)


def lpsgdm_step(
    weight: Tensor,
    v: Tensor,
    mu: Tensor,
    grad: Tensor,
    skipped: Tensor,
    *,
    eta: float | Tensor,
    gamma: float,
    nesterov: bool,
    p: float,
) -> None:
    """Eqs (21)-(24) in place on tensors (neurons, fan-in) that are `usable`.

    `skipped`, (1,) int64 on their device, grows by the neurons whose gradient holds NaN or inf.
    """
    q = p / (p - 1.0)
    numbers = (float(gamma), q - 1.0, -1.0 / q, 1.0 / q - 1.0)
    _launch(0, (weight, v, mu, grad), skipped, eta, numbers, NESTEROV=bool(nesterov), WHOLE=_whole(q - 1.0))


def lpsgd_step(weight: Tensor, grad: Tensor, skipped: Tensor, *, eta: float | Tensor, p: float) -> None:
    """Eqs (9)-(13) in place; tensors and `skipped` as for `lpsgdm_step`."""
    q = p / (p - 1.0)
    numbers = (q - 1.0, 1.0 / q - 1.0, p - 1.0, -1.0 / p)
    _launch(1, (weight, grad), skipped, eta, numbers, WHOLE=_whole(q - 1.0), WHOLE_P=_whole(p - 1.0))


def _launch(which: int, tensors: tuple[Tensor, ...], skipped: Tensor, eta: float | Tensor, numbers: tuple, **constants):
    rows, d = tensors[0].shape
    on_device = isinstance(eta, Tensor)  # read there at every replay of a graph
    block = _block(d)
    with torch.cuda.device_of(tensors[0]):
        _kernels()[which][(rows,)](
            *tensors,
            skipped,
            eta if on_device else float(eta),
            *numbers,
            d,
            ETA_ON_DEVICE=on_device,
            **constants,
            BLOCK=block,
            num_warps=min(max(block // 256, 1), 16),
        )
    torch.autograd.graph.increment_version(tensors[0])


def _block(d: int) -> int:
    """The power of two that holds a row; at least 32, the threads of a warp."""
    return max(32, 1 << (d - 1).bit_length())


def _whole(a: float) -> int:
    return sphere.whole_exponent(a, maximum=MAX_WHOLE)


def _is_eta(eta: float | Tensor, device: torch.device) -> bool:
    if isinstance(eta, Tensor):
        return eta.device == device and eta.dtype == torch.float32 and eta.numel() == 1
    return isinstance(eta, (int, float))


@cache
def kernel_available() -> bool:
    """Whether Triton can be imported and is not switched off by LPSS_NATIVE=0."""
    if os.environ.get("LPSS_NATIVE") == "0":
        return False
    try:
        _kernels()
    except Exception as error:  # a broken Triton raises more than ImportError
        log.info("Triton cannot be used (%s): LpSGD uses its slower tensor code on GPUs", error)
        return False
    return True


@cache
def _works(device: torch.device) -> bool:
    """Whether Triton can compile for this GPU: tries one step of one neuron."""
    try:
        weight, grad = torch.ones(2, 1, 1, device=device)
        lpsgd_step(weight, grad, torch.zeros(1, dtype=torch.int64, device=device), eta=0.5, p=2.0)
    except Exception as error:
        log.info("Triton cannot compile for %s (%s): LpSGD uses its slower tensor code there", device, error)
        return False
    return True


@cache
def _kernels() -> tuple:
    """(LpSGD-m, LpSGD), made on first use, since importing Triton takes time. What they call must be global.

    Their arguments q_1, p_1, unit and dual are exponents: x^[q_1] (and x^[p_1]), x total^unit, power total^dual.
    """
    global tl, INFINITE, TINY, _signed_power, _power, _largest, _scaled_power
    import triton
    import triton.language as tl

    INFINITE = tl.constexpr(0x7F800000)  # its bits: those of NaN are more
    TINY = tl.constexpr(torch.finfo(torch.float32).tiny)

    @triton.jit
    def _signed_power(x, a, WHOLE: tl.constexpr):
        """x^[a]; WHOLE is a where it is a whole number up to 16, else 0."""
        if WHOLE == 0:
            size = tl.abs(x)
            power = tl.exp2(a * tl.log2(tl.maximum(size, TINY)))
            power = tl.where(size == 0.0, 0.0, tl.where(x < 0.0, -power, power))
        else:
            power = x if WHOLE % 2 == 1 else x * tl.abs(x)
            x2 = x * x
            x4 = x2 * x2
            if (WHOLE - 1) & 2:
                power *= x2
            if (WHOLE - 1) & 4:
                power *= x4
            if (WHOLE - 1) & 8:
                power *= x4 * x4
        return power

    @triton.jit
    def _power(x, a):
        return tl.exp2(a * tl.log2(x))

    @triton.jit
    def _largest(x):
        """The bits of the largest magnitude: they sort as the numbers do, with inf and NaN above all others."""
        return tl.max(x.to(tl.int32, bitcast=True) & 0x7FFFFFFF, axis=0)

    @triton.jit
    def _scaled_power(x, most, a, WHOLE: tl.constexpr):
        """y = x / its largest magnitude, y^[a], and the sum of their product. `step` keeps the inverse in float32."""
        scale = most.to(tl.float32, bitcast=True)
        step = tl.where(scale < 1e-30, 18446744073709551616.0, tl.where(scale > 1e30, 5.421010862427522e-20, 1.0))
        x = x * step * (1.0 / (scale * step))
        power = _signed_power(x, a, WHOLE)
        return x, power, tl.sum(x * power, axis=0)

    @triton.jit
    def lpsgdm(
        weight,
        v,
        mu,
        grad,
        skipped,
        eta,
        gamma,
        q_1,
        unit,
        dual,
        d,
        ETA_ON_DEVICE: tl.constexpr,
        NESTEROV: tl.constexpr,
        WHOLE: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        column = tl.arange(0, BLOCK)
        inside = column < d
        place = tl.program_id(0).to(tl.int64) * d + column
        if ETA_ON_DEVICE:
            eta = tl.load(eta)
        g = tl.load(grad + place, mask=inside, other=0.0)
        momentum = gamma * tl.load(mu + place, mask=inside, other=0.0) + g
        x = g + gamma * momentum if NESTEROV else momentum
        most = _largest(x)
        finite = most < INFINITE
        if most >= INFINITE:
            tl.atomic_add(skipped, 1, sem="relaxed")
        tl.store(mu + place, momentum, mask=inside & finite)
        x, power, total = _scaled_power(x, most, q_1, WHOLE)
        x = (1.0 - eta) * tl.load(v + place, mask=inside, other=0.0) - eta * _power(total, unit) * x
        moves = finite & (most > 0)
        most = _largest(x)
        x, power, total = _scaled_power(x, most, q_1, WHOLE)
        moves = inside & moves & (most > 0)
        tl.store(v + place, _power(total, unit) * x, mask=moves)
        tl.store(weight + place, _power(total, dual) * power, mask=moves)

    @triton.jit
    def lpsgd(
        weight,
        grad,
        skipped,
        eta,
        q_1,
        dual,
        p_1,
        unit,
        d,
        ETA_ON_DEVICE: tl.constexpr,
        WHOLE: tl.constexpr,
        WHOLE_P: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        column = tl.arange(0, BLOCK)
        inside = column < d
        place = tl.program_id(0).to(tl.int64) * d + column
        if ETA_ON_DEVICE:
            eta = tl.load(eta)
        x = tl.load(grad + place, mask=inside, other=0.0)
        most = _largest(x)
        moves = (most > 0) & (most < INFINITE)
        if most >= INFINITE:
            tl.atomic_add(skipped, 1, sem="relaxed")
        x, power, total = _scaled_power(x, most, q_1, WHOLE)
        x = (1.0 - eta) * tl.load(weight + place, mask=inside, other=0.0) - eta * _power(total, dual) * power
        most = _largest(x)
        x, power, total = _scaled_power(x, most, p_1, WHOLE_P)
        tl.store(weight + place, _power(total, unit) * x, mask=inside & moves & (most > 0))

    return lpsgdm, lpsgd
