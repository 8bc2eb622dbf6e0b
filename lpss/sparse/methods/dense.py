"""The dense baseline: no masks."""

from lpss.registries import METHODS
from lpss.sparse.methods.base import Method


@METHODS.register("dense")
class Dense(Method):
    """The baseline: every weight stays active; the requested sparsity is taken as 0."""

    label = "Dense"
    order = 0
    kind = "dense"
    drops = "-"
    grows = "-"
    use = "what all others are measured against"

    masks_gradients = False

    def __init__(self, net, optimizer, *, sparsity: float = 0.0, **kwargs):
        super().__init__(net, optimizer, sparsity=0.0, **kwargs)
