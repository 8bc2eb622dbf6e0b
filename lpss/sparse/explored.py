"""How many weights have been active at some time: the exploration of dynamic sparse training."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lpss.sparse.masks import Masks


class Explored:
    """Adds up which weights have been active, from `note` to `note`: call it after a first step, and after every one
    that has changed the masks.

    Liu et al. 2021, Do We Actually Need Dense Over-Parameterization? In-Time Over-Parameterization in Sparse Training
    (https://arxiv.org/abs/2102.02887), find that sparse training does as well as it explores. It holds a byte a weight.
    """

    def __init__(self, masks: Masks):
        self.masks = masks
        self.ever: dict[str, Tensor] = {name: torch.zeros_like(mask, dtype=torch.bool) for name, mask in masks.items()}

    @torch.no_grad()
    def note(self) -> None:
        """Add the weights that are active now."""
        for name, ever in self.ever.items():
            ever |= self.masks[name].bool()

    def share(self) -> float:
        """Weights that have been active / maskable weights (their R_s; reads the device)."""
        return sum(torch.stack([ever.sum() for ever in self.ever.values()]).tolist()) / self.masks.maskable

    def state_dict(self) -> dict[str, Tensor]:
        return {name: ever.clone() for name, ever in self.ever.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, ever in self.ever.items():
            ever.copy_(state[name])
