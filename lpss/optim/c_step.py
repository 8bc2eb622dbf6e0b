"""The steps of LpSGD and LpSGD-m on CPUs in one pass, by the package's C code (lpss/native/sphere.c).

It does the arithmetic of steps.py on float32 weights, equal up to float32 rounding, and several times as fast.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from lpss import sphere
from lpss.active import NeuronRows
from lpss.native import loader

MAX_WHOLE = 16  # the largest exponent q - 1 that the kernel multiplies out
SHARE = 2**14  # weights per thread at least: with fewer, waking a thread costs more than its work


class _Step(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in ("eta", "gamma", "q", "p")] + [
        (name, ctypes.c_int) for name in ("nesterov", "whole", "momentum")
    ]


def usable(weight: Tensor, *others: Tensor) -> bool:
    """Whether the kernel can move this weight: float32 on the CPU, all in one memory order, neuron after neuron."""
    order = weight.stride()
    return (
        all(x.is_cpu and x.dtype == torch.float32 and x.stride() == order for x in (weight, *others))
        and (weight.is_contiguous() or weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last))
        and not torch.compiler.is_compiling()
        and loader.library() is not None
    )


def step(
    pieces: Sequence[tuple[Tensor, ...]],
    rows: Sequence[NeuronRows | None] | None = None,
    *,
    eta: float,
    p: float,
    gamma: float = 0.0,
    nesterov: bool = False,
) -> int:
    """Move weights in place in one call, shared between threads (ctypes releases Python's lock meanwhile).

    Args:
        pieces: (weight, v, mu, gradient) each for LpSGD-m, eqs (21)-(24), or (weight, gradient) each for LpSGD, eqs
            (9)-(13); all tensors must be `usable`.
        rows: for each piece None, or where neurons begin if it holds active entries alone.
        eta: in [0, 1].
        p: 1 < p < inf.
        gamma, nesterov: LpSGD-m's momentum.

    Returns how many neurons were left alone because their gradient holds NaN or inf.
    """
    momentum, q = len(pieces[0]) == 4, p / (p - 1.0)
    whole = sphere.whole_exponent(q - 1.0, maximum=MAX_WHOLE)
    table, size, widest = [], 0, 0
    for piece, row in zip(pieces, rows or [None] * len(pieces), strict=True):
        weight, *state, grad = piece
        numel = weight.numel()
        if row is None:
            neurons, longest, starts = weight.shape[0], numel // weight.shape[0], 0
        else:
            neurons, longest, starts = len(row.starts) - 1, row.longest, row.starts.data_ptr()
        table += neurons, longest, numel, starts
        table += weight.data_ptr(), *([x.data_ptr() for x in state] or (0, 0)), grad.data_ptr()
        size, widest = size + numel, max(widest, longest)
    table = (ctypes.c_int64 * len(table))(*table)
    options = _Step(eta, gamma, q, p, nesterov, whole, momentum)

    threads = max(1, min(torch.get_num_threads(), size // SHARE))
    work = torch.empty(2 * widest * threads)
    skipped = loader.library().sphere_step(
        table, len(pieces), size, ctypes.byref(options), work.data_ptr(), widest, threads
    )
    torch.autograd.graph.increment_version([piece[0] for piece in pieces])
    return skipped
