"""Gradual magnitude pruning (Zhu & Gupta 2017): from dense to sparse, without growing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.options import check_choice, later
from lpss.registries import METHODS
from lpss.schedules.cosine import cosine
from lpss.sparse.distributions import check_distribution
from lpss.sparse.methods.base import Method
from lpss.sparse.select import largest
from lpss.sparse.window import Window

SCOPES = ("layer", "global")
# Progress u in [0, 1] -> share of the way from the first to the last sparsity.
SCHEDULES = {
    "cubic": lambda u: 1 - (1 - u) ** 3,
    "linear": lambda u: u,
    "cosine": lambda u: 1 - cosine(u),
    "once": lambda u: 1.0,
}


@METHODS.register("gmp")
class GMP(Method):
    """Starts dense; at each update keeps the largest weights, as many as the cubic schedule allows.

    The sparsity at fraction u of the window from `begin` to `end` is  s (1 - (1 - u)^3)  (their eq 1 with s_i = 0); the
    window's last update reaches s. What is pruned stays pruned.

    scope: `layer`, every layer keeps its share of `distribution`; or `global`, the largest weights of all layers stay.
    schedule: `cubic`; `linear` (s u); `cosine`; or `once`, all at the window's first update: one-shot pruning.

    `begin` and `end` are fractions of training, `update_every` is in steps (0: automatic, see `Window`).
    """

    label = "GMP"
    reference = "Zhu and Gupta 2017, To prune, or not to prune, https://arxiv.org/abs/1710.01878"
    order = 50
    kind = "dense start"
    drops = "smallest |w|"
    grows = "-"
    use = "strong and simple where training may begin dense"

    least_interval = 1  # steps between updates, if these are automatic

    @dataclass
    class Config:
        distribution: str = "uniform"
        begin: float = 0.0
        end: float = 0.75
        update_every: int = 0
        scope: str = later("layer")
        schedule: str = later("cubic")

    def check(self) -> None:
        config = self.config
        check_distribution(config.distribution)
        check_scope(config.scope)
        check_choice(config.schedule, "method.schedule", list(SCHEDULES))
        self.window = self.pruning = Window(
            config.begin, config.end, config.update_every, self.total_steps, least=self.least_interval
        )
        self.keeps_layer_counts = config.scope == "layer"

    def should_update(self) -> bool:
        return self.window.should_update(self.steps)

    def reached_by_now(self) -> float:
        """The sparsity that the schedule asks for at this update."""
        first = self.first_sparsity()
        return first + (self.sparsity - first) * SCHEDULES[self.config.schedule](self.pruning.progress(self.steps))

    def first_sparsity(self) -> float:
        """Where the schedule begins."""
        return 0.0

    def drop_score(self, name: str) -> Tensor:
        """Magnitude of the weights: the largest stay."""
        return self.masks.layers[name].weight.detach().abs()

    @torch.no_grad()
    def update(self) -> None:
        self.prune(self.reached_by_now())

    def prune(self, sparsity: float) -> None:
        """Keep as many of the active weights as this sparsity allows, those of largest score."""
        counts = self.layer_counts(sparsity, self.config.distribution)
        active = {name: mask.bool() for name, mask in self.masks.items()}
        scores = {name: self.drop_score(name) for name in active}
        for name, kept in largest(scores, counts, active, self.config.scope).items():
            self.set_mask(name, kept)


def check_scope(scope: str) -> None:
    """Raises UsageError for what is not in SCOPES."""
    check_choice(scope, "method.scope", SCOPES)
