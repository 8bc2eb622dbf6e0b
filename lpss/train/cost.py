"""FLOPs of training and inference: multiply-adds as RigL's authors count them.

A sparse layer costs its density times its dense cost; products without a maskable weight, such as those of queries and
keys, cost the same in every net. A training step costs three forward passes (one forward, two backward), except that a
step whose weight gradients must be dense costs 2 sparse + 1 dense (Evci et al. 2020, appendix H). Normalisation,
activations and the optimizer are not counted. These are costs in principle: what is saved in time depends on
`train.backend`.
"""

from collections.abc import Mapping

from torch import nn

from lpss.sparse.masks import Masks
from lpss.train.flops import Example, count_flops


class Cost:
    """Adds up the training FLOPs of a run from the masks in force at each step. `print` it for a report.

    Args:
        net: any module. masks: its masks, as `method.masks`.
        example: what the net takes: a tensor (1, *input shape), a tuple of arguments or a dict of keyword arguments.
        gradient_counts: `method.gradient_counts`, of a method that computes gradients of inactive weights, too.

    dense, sparse: FLOPs of a forward pass without and with the masks. other: FLOPs in both that belong to no layer.
    not_counted: a line for everything known to be left out, which neither of them holds.

    Raises UsageError where the forward pass holds no product.
    """

    def __init__(self, net: nn.Module, masks: Masks, example: Example, gradient_counts=lambda: None):
        counted = count_flops(net, example)
        self.flops, self.other, self.not_counted = counted.layers, counted.other, counted.not_counted
        self.masks, self.gradient_counts = masks, gradient_counts
        self.dense = counted.total
        self.spent = 0.0
        self.steps = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the masks again; call it when they have changed."""
        active, gradients = self.masks.active(), self.gradient_counts()
        self.sparse = self._flops(active)
        self.gradients = self.sparse if gradients is None else self._flops(gradients)

    def _flops(self, counts: Mapping[str, int]) -> float:
        """Of one product with so many weights of each layer."""
        density = {name: count / self.masks.layers[name].shape.numel() for name, count in counts.items()}
        return sum(flops * density.get(name, 1.0) for name, flops in self.flops.items()) + self.other

    def step(self, dense_backward: bool, extra_backwards: int = 0) -> None:
        """Count one training step, per example, with `extra_backwards` backward passes beside the loss's."""
        self.spent += 2 * self.sparse + (self.dense if dense_backward else self.gradients)
        self.spent += 2 * self.sparse * extra_backwards
        self.steps += 1

    def training(self) -> float:
        """FLOPs of training so far relative to as many dense steps."""
        return self.spent / (3 * self.dense * self.steps) if self.steps else float("nan")

    def inference(self) -> float:
        """FLOPs of a forward pass relative to the dense net's."""
        return self.sparse / self.dense

    def __str__(self) -> str:
        masked = sum(flops for name, flops in self.flops.items() if name in self.masks)
        lines = [
            f"a forward pass: {self.dense:,} FLOPs dense, {self.sparse:,.0f} with the masks ({self.inference():.1%})",
            f"of the dense FLOPs: {masked / self.dense:.1%} in masked layers, "
            f"{(self.dense - self.other - masked) / self.dense:.1%} in other layers, "
            f"{self.other / self.dense:.1%} in products without a layer's weight",
        ]
        return "\n".join([*lines, *(f"not counted: {line}" for line in self.not_counted)])

    def state_dict(self) -> dict:
        return {"spent": self.spent, "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.spent, self.steps = state["spent"], state["steps"]
        self.refresh()
