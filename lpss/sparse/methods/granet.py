"""GraNet, gradual pruning with zero-cost neuroregeneration (Liu et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.options import check_range
from lpss.registries import METHODS
from lpss.sparse.methods.gmp import GMP
from lpss.sparse.methods.set import replaced
from lpss.sparse.window import TO_GROW, Window


@METHODS.register("granet")
class GraNet(GMP):
    """Prunes gradually over all layers together; after each pruning every layer drops and grows like RigL.

    From `start_sparsity`, of random masks by `distribution` (.5 by ERK: sparse to sparse; 0: dense to sparse), to the
    requested one by the cubic schedule until `prune_end`; in the same updates, and after that until `end`, each layer
    drops `drop_fraction` (on a cosine over the window) of its smallest weights and grows as many where |gradient| is
    largest. With drop_fraction=0 and start_sparsity=0 this is GMP.

    `begin`, `prune_end` and `end` are fractions of training, `update_every` is in steps (0: automatic, see `Window`).
    """

    label = "GraNet"
    reference = (
        "Liu et al. 2021, Sparse Training via Boosting Pruning Plasticity with Neuroregeneration, "
        "https://arxiv.org/abs/2106.10404"
    )
    order = 60
    kind = "dense start"
    drops = "smallest |w|"
    grows = "largest |g|"
    use = "prunes and regrows: among the best where training may begin half dense"

    least_interval = TO_GROW

    @dataclass
    class Config(GMP.Config):
        distribution: str = "erk"
        start_sparsity: float = 0.5
        prune_end: float = 0.69
        end: float = 1.0
        scope: str = "global"
        drop_fraction: float = 0.5
        drop_schedule: str = "cosine"

    def check(self) -> None:
        super().check()
        config = self.config
        check_range(config.start_sparsity, "method.start_sparsity", 0, 1, open_high=True)
        check_range(config.prune_end, "method.prune_end", config.begin, config.end, open_low=True)
        check_range(config.drop_fraction, "method.drop_fraction", 0, 1)
        self.window.decay(config.drop_schedule, 0)
        # Pruning at the updates of the whole window that lie before `prune_end`.
        self.pruning = Window(config.begin, config.prune_end, self.window.every, self.total_steps)

    def start(self) -> None:
        if first := self.first_sparsity():
            self.start_random(first, self.config.distribution)

    @property
    def dense_backward(self) -> bool:
        return self.should_update() and self.config.drop_fraction > 0

    def first_sparsity(self) -> float:
        return min(self.config.start_sparsity, self.sparsity)

    def grow_score(self, name: str) -> Tensor:
        """|gradient|."""
        return self.gradient(name).abs()

    @torch.no_grad()
    def update(self) -> None:
        if self.pruning.should_update(self.steps):
            self.prune(self.reached_by_now())
        fraction = self.config.drop_fraction * self.window.decay(self.config.drop_schedule, self.steps)
        for name, count in self.masks.active().items():
            if changes := int(fraction * count):
                scores = self.drop_score(name), self.grow_score(name)
                self.set_mask(name, replaced(self.masks[name].bool(), *scores, count - changes, changes))
