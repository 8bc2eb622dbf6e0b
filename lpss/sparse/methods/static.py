"""Static sparse training: a random mask, fixed for all of training."""

from dataclasses import dataclass

from lpss.registries import METHODS
from lpss.sparse.methods.base import Method


@METHODS.register("static")
class Static(Method):
    """A random mask, fixed for all of training; `distribution` spreads the density over layers (uniform, er, erk)."""

    label = "Static"
    reference = "the static baseline of Evci et al. 2020, https://arxiv.org/abs/1911.11134"
    order = 20
    kind = "fixed"
    drops = "-"
    grows = "-"
    use = "the least that a method must beat; nothing is cheaper"

    @dataclass
    class Config:
        distribution: str = "uniform"

    def start(self) -> None:
        self.start_random(self.sparsity, self.config.distribution)
