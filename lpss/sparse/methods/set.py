"""SET, sparse evolutionary training (Mocanu et al. 2018), and the drop-and-grow scheme its successors share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.options import check_range
from lpss.registries import METHODS
from lpss.sparse.methods.base import Method
from lpss.sparse.select import random_scores, top_k
from lpss.sparse.window import TO_GROW, Window


class DropGrow(Method):
    """At each update every layer drops a fraction of its active weights and grows as many, so sparsity is constant.

    A subclass says which: `drop_score` (the smallest go) and `grow_score` (the largest come). Connections just
    dropped may be grown again, and then keep their value, as in RigL's reference implementation; new ones are zero.

    Options: `drop_fraction` of a layer's active weights, in (0, 1], which `drop_schedule` (cosine or constant) lowers;
    `begin` and `end`, fractions of training between which updates happen; `update_every`, in steps (0: automatic, see
    `Window`); `distribution` of the density over layers (uniform, er, erk).
    """

    @dataclass
    class Config:
        distribution: str = "uniform"
        drop_fraction: float = 0.3
        drop_schedule: str = "cosine"
        begin: float = 0.0
        end: float = 0.75
        update_every: int = 0

    def check(self) -> None:
        config = self.config
        check_range(config.drop_fraction, "method.drop_fraction", 0, 1, open_low=True)
        self.window = Window(config.begin, config.end, config.update_every, self.total_steps, least=TO_GROW)
        self.window.decay(config.drop_schedule, 0)

    def start(self) -> None:
        self.start_random(self.sparsity, self.config.distribution)

    def should_update(self) -> bool:
        return self.window.should_update(self.steps)

    def drop_score(self, name: str) -> Tensor:
        """Magnitude of the weights."""
        return self.masks.layers[name].weight.detach().abs()

    def grow_score(self, name: str) -> Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def update(self) -> None:
        fraction = self.config.drop_fraction * self.window.decay(self.config.drop_schedule, self.steps)
        for name, count in self.masks.active().items():
            self.drop_and_grow(name, count, int(fraction * count))

    def drop_and_grow(self, name: str, active_count: int, changes: int) -> None:
        """Replace `changes` of the layer's connections."""
        score = self.drop_score(name), self.grow_score(name)
        self.set_mask(name, replaced(self.masks[name].bool(), *score, active_count - changes, changes))


def replaced(active: Tensor, drop_score: Tensor, grow_score: Tensor, keep: int, grow: int) -> Tensor:
    """The mask of the `keep` active weights of largest drop score and the `grow` best of all others, of which those
    just dropped are some."""
    kept = top_k(drop_score, keep, among=active)
    return kept | top_k(grow_score, grow, among=~kept)


@METHODS.register("set")
class SET(DropGrow):
    """Drops the weights of smallest magnitude, grows at random.

    The original drops once an epoch; here the schedule of RigL's comparison is used (every few steps, cosine), so
    that SET and RigL differ in the grow rule alone.
    """

    label = "SET"
    reference = (
        "Mocanu et al. 2018, Scalable training of artificial neural networks with adaptive sparse "
        "connectivity inspired by network science, https://doi.org/10.1038/s41467-018-04316-3"
    )
    order = 10
    kind = "throughout"
    drops = "smallest |w|"
    grows = "random"
    use = "no dense gradient, ever; for memory"
    revision = 2  # 1: numbers to drop rounded, and new weights moved by the gradient of the update's batch

    def grow_score(self, name: str) -> Tensor:
        return random_scores(self.masks[name], self.generator)
