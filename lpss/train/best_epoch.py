"""The weights and masks of a run's best epoch, by its validation part."""

from torch import nn

from lpss.sparse.best import BestWeights
from lpss.sparse.methods import Method

REACHED = 0.001  # an epoch that lacks more of the requested sparsity is not the net that was asked for


class BestEpoch:
    """Keeps the net of the epoch with the highest accuracy, of those that have reached the requested sparsity."""

    def __init__(self, net: nn.Module, method: Method):
        self.weights, self.sparsity = BestWeights(net, method), method.sparsity
        self.epoch: int | None = None

    def note(self, row: dict) -> None:
        """Take the epoch that has ended, with this row of metrics, into account."""
        if row["sparsity_weights"] >= self.sparsity - REACHED and self.weights.update(row["eval_accuracy"]):
            self.epoch = row["epoch"]

    def state_dict(self) -> dict:
        return {"weights": self.weights.state_dict(), "epoch": self.epoch}

    def load_state_dict(self, state: dict) -> None:
        self.weights.load_state_dict(state["weights"])
        self.epoch = state["epoch"]
