"""The dense baseline: no masks."""

from dataclasses import dataclass

from lpss.sparse.methods.base import METHODS, Method


@METHODS.register("dense")
class Dense(Method):
    """Every weight stays active; the requested sparsity is taken as 0."""

    @dataclass
    class Config:
        name: str = "dense"

    def __init__(self, net, optimizer, *, sparsity: float = 0.0, **kwargs):
        super().__init__(net, optimizer, sparsity=0.0, **kwargs)

    def optimizer_step(self) -> None:
        self.optimizer.step()
