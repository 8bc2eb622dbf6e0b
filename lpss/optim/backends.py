"""The three implementations of the steps behind one function: a C kernel, Triton kernels, and torch operations."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lpss.optim import native, triton_step
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
        capturable: never read a value on the host.
        momentum: `gamma` and `nesterov`, for LpSGD-m.

    Float32 weights on the CPU all move in one call of the C kernel, those on a GPU in one Triton launch each, every
    other weight by the torch operations of steps.py.
    """
    code_paths, together = set(), []
    for piece in pieces:
        weight = piece[0]
        if weight.is_cuda and triton_step.usable(*(rows := memory_rows(piece)), eta=eta):
            triton_step.step(rows, nonfinite.on(weight.device), eta=eta, p=p, **momentum)
            code_paths.add(TRITON)
        elif isinstance(eta, (int, float)) and native.usable(*piece):
            together.append(piece)
            code_paths.add(C_KERNEL)
        else:
            step = lpsgdm_step if len(piece) == 4 else lpsgd_step
            nonfinite.add(step(*piece, eta=eta, p=p, capturable=capturable, scratch=scratch, **momentum))
            code_paths.add(TENSOR_CODE)
    if together:
        nonfinite.add(native.step(together, eta=eta, p=p, **momentum))
    return code_paths


def expected_code_path(device: torch.device | str) -> str:
    """The code path of float32 weights on this device: "C kernel", "Triton" or "tensor code".

    What `move` will use, as far as this can be told without a step: learning rates in tensors on the CPU, rows too long
    for Triton, or a Triton that turns out not to compile for the GPU lead to tensor code. Compiles the C kernel if it
    has not been compiled on this machine before.
    """
    kind = torch.device(device).type
    if kind == "cuda" and triton_step.kernel_available():
        return TRITON
    if kind == "cpu" and native.kernel() is not None:
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
