"""Static sparse training: a random mask, fixed for all of training."""

from dataclasses import dataclass

from lpss.sparse.methods.base import METHODS, Method


@METHODS.register("static")
class Static(Method):
    """A fixed random mask; `distribution` spreads the density over layers (uniform, er, erk)."""

    @dataclass
    class Config:
        name: str = "static"
        distribution: str = "uniform"

    def start(self) -> None:
        self.start_random(self.sparsity, self.config.distribution)
