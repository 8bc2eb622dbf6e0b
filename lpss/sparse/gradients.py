"""Dense gradients that are kept aside where the weights' own gradients have been masked before a topology update."""

import torch
from torch import Tensor

from lpss.sparse.masks import Masks


class DenseGradients:
    """What a topology update ranks: copies of the dense gradients, or the weights' own where none were kept.

    Copies are in the shape of the masks (neurons first). They are needed at steps with an update alone, if gradients
    are masked before the step: for clipping, which must see the norm of the gradients that move the weights.
    """

    def __init__(self, masks: Masks):
        self.masks = masks
        self._kept: dict[str, Tensor] = {}
        self._masks_then: dict[str, Tensor] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def of(self, name: str) -> Tensor | None:
        """The layer's dense gradient."""
        return self._kept.get(name, self.masks.layers[name].gradient)

    @torch.no_grad()
    def keep(self) -> None:
        """Keep the weights' gradients of now, where backward has not kept them."""
        for name, layer in self.masks.layers.items():
            if name not in self._kept and layer.parameter.grad is not None:
                self._keep(name, layer.gradient.clone())

    @torch.no_grad()
    def add(self, name: str, gradient: Tensor, again: bool = False) -> None:
        """Keep what a backward pass is about to add to the weight's gradient. `again`: the same pass has before."""
        so_far = self.masks.layers[name].gradient
        if name in self._kept and (again or so_far is not None and so_far.any()):
            self._kept[name].add_(gradient)
        else:  # the first since gradients were set to zero
            self._keep(name, gradient.clone())

    def _keep(self, name: str, gradient: Tensor) -> None:
        self._kept[name] = gradient
        self._masks_then[name] = self.masks[name].clone()

    @torch.no_grad()
    def give_back(self) -> None:
        """Give new connections their gradient, scaled as the others have been since (by clipping, or a GradScaler)."""
        if not self._kept:
            return
        seen = {name: kept * self._masks_then[name] for name, kept in self._kept.items()}
        now = {name: self.masks.layers[name].gradient for name in seen}
        total = sum(seen[name].double().square().sum() for name in seen)
        scaled = sum((seen[name].double() * now[name]).sum() for name in seen)
        factor = torch.where(total > 0, scaled / total, 1.0)  # exactly 1 where nothing was scaled
        for name, kept in self._kept.items():
            new = self.masks[name] * (self._masks_then[name] == 0)
            now[name].add_(kept * new * factor)

    def forget(self) -> None:
        """The step has been made."""
        self._kept.clear()
        self._masks_then.clear()
