"""Counting neurons whose gradient holds NaN or inf, without making the host wait for a device."""

import torch
from torch import Tensor


class NonfiniteCounter:
    """How many neuron updates were skipped, counted on the device where each happened."""

    def __init__(self):
        self._counts: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """The device's counter, (1,) int64; kernels add to it in place, so that a captured step counts, too."""
        if device not in self._counts:
            self._counts[device] = torch.zeros(1, dtype=torch.int64, device=device)
        return self._counts[device]

    def add(self, count: Tensor | int) -> None:
        """Add a number, or a tensor () that stays on its device."""
        if isinstance(count, int):
            if not count:
                return
            count = torch.tensor(count)
        self.on(count.device).add_(count)

    def on_cpu(self) -> int:
        """The CPU's count: reading it costs nothing."""
        count = self._counts.get(torch.device("cpu"))
        return 0 if count is None else int(count)

    def total(self) -> int:
        """The count over all devices (reads them)."""
        return sum(int(count) for count in self._counts.values())
