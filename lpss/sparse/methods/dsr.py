"""DSR, dynamic sparse reparameterization (Mostafa & Wang 2019)."""

from dataclasses import dataclass

import torch

from lpss.options import check_range
from lpss.registries import METHODS
from lpss.sparse.distributions import allot, check_distribution
from lpss.sparse.methods.base import Method
from lpss.sparse.select import random_scores, top_k
from lpss.sparse.window import TO_GROW, Window

MOST = 0.3  # of the active weights, that an update aims to move: the drop fraction with which SET and RigL begin


@METHODS.register("dsr")
class DSR(Method):
    """Drops all weights below one threshold for the net, which adapts, and grows as many at random where most are left.

    At each update active weights of magnitude below H are dropped in all layers (one at least stays in each). H doubles
    where fewer than .9 of the aim were dropped, and halves where more than 1.1 of it were. Each layer then grows its
    share of them in proportion to what it has left, at random among the places that were free before.

    moved_fraction: the aim, relative to all maskable weights (the authors' 20,000 of a WRN-28-2 are .014), but no more
    than three tenths of the active ones: a net of sparsity .99 has not as many as that. threshold: H at first. `begin`
    and `end` are fractions of training, `update_every` is in steps (0: automatic, see `Window`; the authors' grow from
    100 to 800); `distribution` is that of the first masks.
    """

    label = "DSR"
    reference = (
        "Mostafa and Wang 2019, Parameter Efficient Training of Deep Convolutional Neural Networks by Dynamic Sparse "
        "Reparameterization, https://arxiv.org/abs/1902.05967"
    )
    order = 16
    kind = "throughout"
    drops = "|w| < adaptive threshold"
    grows = "random"
    use = "layers find their densities without dense gradients"

    keeps_layer_counts = False
    no_spheres = "compares magnitudes of all layers"

    @dataclass
    class Config:
        distribution: str = "uniform"
        moved_fraction: float = 0.014
        threshold: float = 1e-3
        begin: float = 0.0
        end: float = 0.95
        update_every: int = 0

    def check(self) -> None:
        config = self.config
        check_distribution(config.distribution)
        check_range(config.moved_fraction, "method.moved_fraction", 0, 1, open_low=True)
        check_range(config.threshold, "method.threshold", 0, float("inf"), open_low=True, open_high=True)
        self.window = Window(config.begin, config.end, config.update_every, self.total_steps, least=TO_GROW)
        self.threshold = config.threshold

    def start(self) -> None:
        self.start_random(self.sparsity, self.config.distribution)

    def should_update(self) -> bool:
        return self.window.should_update(self.steps)

    @torch.no_grad()
    def update(self) -> None:
        counts, kept = self.masks.active(), {}
        for name, layer in self.masks.layers.items():
            magnitude, active = layer.weight.detach().abs(), self.masks[name].bool()
            kept[name] = active & (magnitude >= self.threshold) | top_k(magnitude, 1, among=active)
        left = dict(zip(kept, torch.stack([mask.sum() for mask in kept.values()]).tolist(), strict=True))
        dropped = sum(counts.values()) - sum(left.values())
        self._adapt(dropped)
        free = {name: self.masks[name] == 0 for name in kept}
        if self.masks.maskable - sum(counts.values()) < dropped:  # a net that is more than half dense
            free = {name: ~mask for name, mask in kept.items()}
            room = {name: mask.numel() - left[name] for name, mask in kept.items()}
        else:
            room = {name: mask.numel() - counts[name] for name, mask in kept.items()}
        for name, count in allot(left, dropped, room).items():
            grown = top_k(random_scores(kept[name], self.generator), count, among=free[name])
            self.set_mask(name, kept[name] | grown)

    def _adapt(self, dropped: int) -> None:
        """Double or halve the threshold."""
        aim = min(self.config.moved_fraction, MOST * (1 - self.sparsity)) * self.masks.maskable
        if dropped < 0.9 * aim:
            self.threshold *= 2
        elif dropped > 1.1 * aim:
            self.threshold /= 2

    def state_dict(self) -> dict:
        return super().state_dict() | {"threshold": self.threshold}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.threshold = state["threshold"]
