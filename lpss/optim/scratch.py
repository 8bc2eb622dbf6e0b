"""Working memory for the optimizers' steps."""

import torch
from torch import Tensor

BUFFERS = 4  # what the hungriest step, LpSGD-m's, asks for


class Scratch:
    """One piece of memory per device and dtype, as large as the largest weight needs, from which buffers are cut.

    So all weights share the memory, and a step after the first one allocates none. A buffer's content lasts until the
    next call of `like`.
    """

    def __init__(self):
        self._memory: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, x: Tensor, count: int) -> list[Tensor]:
        """`count` (at most 4) uninitialised buffers of x's shape, dtype and device."""
        key, size = (x.device, x.dtype), x.numel()
        if key not in self._memory or self._memory[key].numel() < BUFFERS * size:
            self._memory[key] = x.new_empty(BUFFERS * size)
        return [self._memory[key][i * size : (i + 1) * size].view(x.shape) for i in range(count)]
