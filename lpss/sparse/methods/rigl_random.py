"""RigL without its gradients: a control."""

from torch import Tensor

from lpss.registries import METHODS
from lpss.sparse.methods.rigl import RigL
from lpss.sparse.select import random_scores


@METHODS.register("rigl_random")
class RigLRandom(RigL):
    """RigL that grows at random: a control, which shows what growing by gradient is worth at the same schedule.

    Beside SET, which moves the weights at topology updates too, it differs from RigL in the grow score alone.
    """

    label = "RigL (random growth)"
    reference = "a control for Evci et al. 2020, https://arxiv.org/abs/1911.11134"
    order = 31
    kind = "throughout"
    drops = "smallest |w|"
    grows = "random"
    use = "a control: what growing by gradient is worth"

    @property
    def dense_backward(self) -> bool:
        return False

    def grow_score(self, name: str) -> Tensor:
        return random_scores(self.masks[name], self.generator)
