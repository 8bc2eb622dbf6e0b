"""RigL (Evci et al. 2020): SET that grows where the gradient is largest."""

from torch import Tensor

from lpss.registries import METHODS
from lpss.sparse.methods.set import DropGrow


@METHODS.register("rigl")
class RigL(DropGrow):
    """Drops the weights of smallest magnitude, grows the connections of largest |gradient|.

    As in the reference's Algorithm 1, a step that updates the topology does not move the weights.
    """

    label = "RigL"
    reference = "Evci et al. 2020, Rigging the Lottery: Making All Tickets Winners, https://arxiv.org/abs/1911.11134"
    order = 30
    kind = "throughout"
    drops = "smallest |w|"
    grows = "largest |g|"
    use = "the usual baseline that is sparse throughout"
    revision = 2  # 1: numbers to drop rounded, and no more of them than zeros

    moves_at_update = False

    @property
    def dense_backward(self) -> bool:
        return self.should_update()

    def grow_score(self, name: str) -> Tensor:
        return self.gradient(name).abs()
