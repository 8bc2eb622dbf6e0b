"""Gradual magnitude pruning (Zhu & Gupta 2017): from dense to sparse, without growing."""

from dataclasses import dataclass

import torch

from lpss.registries import METHODS
from lpss.sparse.distributions import check_distribution
from lpss.sparse.methods.base import Method
from lpss.sparse.select import top_k
from lpss.sparse.window import Window


@METHODS.register("gmp")
class GMP(Method):
    """Starts dense; at each update every layer keeps its largest weights, as many as the cubic schedule allows.

    The sparsity at fraction u of the window from `begin` to `end` is  s (1 - (1 - u)^3)  (their eq 1 with s_i = 0); the
    window's last update reaches s. What is pruned stays pruned. `distribution` spreads s over layers.
    `begin` and `end` are fractions of training, `update_every` is in steps (0: automatic, see `Window`).
    """

    label = "GMP"
    reference = "Zhu and Gupta 2017, To prune, or not to prune, https://arxiv.org/abs/1710.01878"
    order = 50

    @dataclass
    class Config:
        distribution: str = "uniform"
        begin: float = 0.0
        end: float = 0.75
        update_every: int = 0

    def check(self) -> None:
        check_distribution(self.config.distribution)
        self.window = Window(self.config.begin, self.config.end, self.config.update_every, self.total_steps)

    def should_update(self) -> bool:
        return self.window.should_update(self.steps)

    def reached_by_now(self) -> float:
        """The sparsity that the schedule asks for at this update."""
        first, last = self.window.first, self.window.last_update
        u = min(1.0, (self.steps - first) / max(last - first, 1)) if self.steps < last else 1.0
        return self.sparsity * (1 - (1 - u) ** 3)

    @torch.no_grad()
    def update(self) -> None:
        wanted = self.layer_counts(self.reached_by_now(), self.config.distribution)
        for name, layer in self.masks.layers.items():
            self.set_mask(name, top_k(layer.weight.detach().abs(), wanted[name], among=self.masks[name].bool()))
