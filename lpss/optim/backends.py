"""The three implementations of the steps behind one function: a C kernel, Triton kernels, and torch operations."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lpss.active import NeuronRows
from lpss.native import loader
from lpss.optim import c_step, triton_step
from lpss.optim.nonfinite import NonfiniteCounter
from lpss.optim.scratch import Scratch
from lpss.optim.steps import lpsgd_step, lpsgdm_step

# The names of the code paths, as a run's record shows them.
C_KERNEL, TRITON, TENSOR_CODE = "C kernel", "Triton", "tensor code"


def move(
    pieces: Sequence[tuple[Tensor, ...]],
    *,
    eta: float | Tensor,
    p: float,
    scratch: Scratch,
    nonfinite: NonfiniteCounter,
    rows: Sequence[NeuronRows | None] | None = None,
    capturable: bool = False,
    **momentum,
) -> set[str]:
    """Move weights one step on their sphere, in place, each by the fastest code that can; returns the code paths used.

    Args:
        pieces: for each weight (weight, gradient), which means LpSGD, or (weight, v, mu, gradient), LpSGD-m. All alike.
        eta: in [0, 1]. A tensor on the weights' device can be changed between replays of a captured step.
        p: 1 < p < inf, of all the weights.
        scratch: working memory of the torch operations.
        nonfinite: grows by the neurons that were left alone because their gradient holds NaN or inf.
        rows: for each piece None, or where neurons begin if it holds active entries alone.
        capturable: never read a value on the host.
        momentum: `gamma` and `nesterov`, for LpSGD-m.

    Float32 weights on the CPU all move in one call of the C kernel, those on a GPU in one Triton launch each, every
    other weight by the torch operations of steps.py.
    """
    code_paths, together = set(), []
    for piece, row in zip(pieces, rows or [None] * len(pieces), strict=True):
        weight = piece[0]
        if weight.is_cuda and triton_step.usable(*(rows := memory_rows(piece)), eta=eta):
            triton_step.step(rows, nonfinite.on(weight.device), eta=eta, p=p, **momentum)
            code_paths.add(TRITON)
        elif isinstance(eta, (int, float)) and c_step.usable(*piece):
            together.append((piece, row))
            code_paths.add(C_KERNEL)
        else:
            step = lpsgdm_step if len(piece) == 4 else lpsgd_step
            even = piece if row is None else tuple(_padded(x, row) for x in piece)
            nonfinite.add(step(*even, eta=eta, p=p, capturable=capturable, scratch=scratch, **momentum))
            if row is not None:
                for x, padded in zip(piece[:-1], even[:-1], strict=True):
                    x.copy_(padded[_entries(row)])
            code_paths.add(TENSOR_CODE)
    if together:
        nonfinite.add(c_step.step(*zip(*together, strict=True), eta=eta, p=p, **momentum))
    return code_paths


def _entries(rows: NeuronRows) -> Tensor:
    """(neurons, longest) bool: which entries of equally long rows are there. Rows have one at least."""
    return torch.arange(max(rows.longest, 1), device=rows.starts.device) < rows.starts.diff().unsqueeze(1)


def _padded(x: Tensor, rows: NeuronRows) -> Tensor:
    """The entries of neurons as rows of equal length, with zeros, which add nothing to a norm."""
    entries = _entries(rows)
    return torch.zeros(entries.shape, dtype=x.dtype, device=x.device).masked_scatter_(entries, x)


def expected_code_path(device: torch.device | str) -> str:
    """The code path of float32 weights on this device: "C kernel", "Triton" or "tensor code".

    What `move` will use, as far as this can be told without a step: learning rates in tensors on the CPU, rows too long
    for Triton, or a Triton that turns out not to compile for the GPU lead to tensor code. Compiles the C kernel if it
    has not been compiled on this machine before.
    """
    kind = torch.device(device).type
    if kind == "cuda" and triton_step.kernel_available():
        return TRITON
    if kind == "cpu" and loader.library() is not None:
        return C_KERNEL
    return TENSOR_CODE


def memory_rows(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """(neurons, fan-in) views in the order of memory, where all tensors share one; else the tensors as they are.

    A step's sums run over whole rows, so the order of a row's entries is free as long as it is the same in all tensors.
    Strides alone do not tell: where a side has length 1 (as in a 1x1 conv), its stride may be anything.
    """
    if all(x.is_contiguous() for x in tensors):
        return tuple(x.flatten(1) for x in tensors)
    if all(x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) for x in tensors):
        return tuple(x.permute(0, 2, 3, 1).flatten(1) for x in tensors)
    return tensors
