"""MEST, memory-economic sparse training (Yuan et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.options import check_choice, check_range
from lpss.registries import METHODS
from lpss.sparse.methods.set import DropGrow, replaced
from lpss.sparse.select import random_scores
from lpss.sparse.window import TO_GROW, Window

_ELASTIC = ("mutation", "soft")
_SHARES = {0.75: 0.0, 0.5625: 0.5, 0.0: 1.0}  # from this fraction of training on -> share of `mutation`


@METHODS.register("mest")
class MEST(DropGrow):
    """Drops by |weight|, or |weight| + lambda |gradient|, and grows at random, fewer and fewer weights.

    elastic: `mutation` (EM): the sparsity is constant; at each update every layer is pruned to sparsity s + m and grown
        to s again, at random. `soft` (EM&S): layers have sparsity s - m; at each update they are pruned to s, and grown
        to s - m again.
    mutation: m as a share of the requested density, until .5625 of training; then half of it, and from .75 on 0, so
        that the net ends on sparsity s. .2 is the reference's m of .02 at sparsity .9 and .01 at .95 (EM); for EM&S it
        has .05 at .9, a mutation of .5.
    gradient_share: lambda; 0 in the reference's code.

    `begin`, `end` and `update_every` as for SET; the reference updates every 5 of 160 epochs.
    """

    label = "MEST"
    reference = (
        "Yuan et al. 2021, MEST: Accurate and Fast Memory-Economic Sparse Training Framework on the Edge, "
        "https://arxiv.org/abs/2110.14032"
    )
    order = 17
    kind = "throughout"
    drops = "smallest |w| (+ |g|)"
    grows = "random"
    use = "as SET, with a score and a schedule for edge devices"

    @dataclass
    class Config:
        distribution: str = "uniform"
        elastic: str = "mutation"
        mutation: float = 0.2
        gradient_share: float = 0.0
        begin: float = 0.0
        end: float = 1.0
        update_every: int = 0

    def check(self) -> None:
        config = self.config
        check_choice(config.elastic, "method.elastic", _ELASTIC)
        check_range(config.mutation, "method.mutation", 0, 1, open_high=True)
        check_range(config.gradient_share, "method.gradient_share", 0, float("inf"), open_high=True)
        self.window = Window(config.begin, config.end, config.update_every, self.total_steps, least=TO_GROW)

    def start(self) -> None:
        self.start_random(self._between(self.mutation()), self.config.distribution)

    def mutation(self) -> float:
        """m at this step, of all weights."""
        at = self.steps / self.total_steps
        share = next(share for begin, share in _SHARES.items() if at >= begin)
        share *= (1 - self.sparsity) * self.config.mutation
        return share if self.steps < self.window.last_update else 0.0

    def _between(self, mutation: float) -> float:
        """The sparsity between two updates."""
        return self.sparsity if self.config.elastic == "mutation" else max(0.0, self.sparsity - mutation)

    @property
    def dense_backward(self) -> bool:
        return False

    def drop_score(self, name: str) -> Tensor:
        score = super().drop_score(name)
        return score + self.config.gradient_share * self.gradient(name).abs() if self.config.gradient_share else score

    def grow_score(self, name: str) -> Tensor:
        return random_scores(self.masks[name], self.generator)

    @torch.no_grad()
    def update(self) -> None:
        mutation = self.mutation()
        between = self._between(mutation)
        pruned = min(between + mutation, 1 - 1e-9)
        few, many = (self.layer_counts(sparsity, self.config.distribution) for sparsity in (pruned, between))
        for name, count in self.masks.active().items():
            if (few[name], many[name]) == (count, count):
                continue
            keep = min(few[name], many[name], count)
            scores = self.drop_score(name), self.grow_score(name)
            self.set_mask(name, replaced(self.masks[name].bool(), *scores, keep, many[name] - keep))
