"""GraSP, gradient signal preservation (Wang et al. 2020)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lpss.errors import UsageError
from lpss.registries import METHODS
from lpss.sparse.methods.base import Method
from lpss.sparse.select import top_k_of_all


@METHODS.register("grasp")
class GraSP(Method):
    """Prunes once, before training: drops the weights whose removal harms the flow of gradients least.

    Score of a weight: -w (H g), with the gradient g and Hessian H of the loss at `temperature` (logits are divided by
    it) over `samples` of each class, drawn from the batches in order; the smallest scores stay, over all layers
    together, one at least in each.

    In the reference's code two halves of the samples are taken one after the other and linear layers are initialised
    anew for the scores; here samples are taken together, and the net is as it is. BatchNorm is in training mode.
    """

    label = "GraSP"
    reference = (
        "Wang et al. 2020, Picking Winning Tickets Before Training by Preserving Gradient Flow, "
        "https://arxiv.org/abs/2002.07376"
    )
    order = 42
    kind = "fixed"
    drops = "smallest w (H g), once"
    grows = "-"
    use = "masks before training, where SNIP collapses"

    needs_preparation = True
    keeps_layer_counts = False

    @dataclass
    class Config:
        samples: int = 10
        temperature: float = 200.0

    def check(self) -> None:
        if self.config.samples < 1:
            raise UsageError(f"method.samples must be at least 1, got {self.config.samples}")
        if not self.config.temperature > 0:
            raise UsageError(f"method.temperature must be above 0, got {self.config.temperature}")

    def preflight_warnings(self) -> list[str]:
        """That its scores mean little for trained weights, whose gradients are small."""
        return ["GraSP chooses masks for nets that have not been trained: expect little of it here"] * self.pretrained

    def initial_masks(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        self.net.train()
        scores = self._scores(*_balanced(batches, self.config.samples))
        counts = self.layer_counts(self.sparsity, "uniform")
        return top_k_of_all(scores, sum(counts.values()), at_least=1)

    def _scores(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The largest stay."""
        layers = self.masks.layers
        weights = [layer.parameter for layer in layers.values()]
        loss = F.cross_entropy(self.net(x) / self.config.temperature, y)
        try:
            gradients = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
            flow = sum((gradient.detach() * gradient).sum() for gradient in gradients if gradient is not None)
            products = torch.autograd.grad(flow, weights, allow_unused=True)
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"method grasp needs second derivatives, which this net does not have: {reason}"
            ) from error
        return {
            name: torch.zeros_like(layer.weight) if product is None else layer.view(layer.parameter.detach() * product)
            for (name, layer), product in zip(layers.items(), products, strict=True)
        }


def _balanced(batches: Iterable[tuple[Tensor, Tensor]], samples: int) -> tuple[Tensor, Tensor]:
    """The first so many examples of each class that a few hundred batches hold."""
    found: dict[int, list[Tensor]] = {}
    for number, (x, y) in enumerate(batches):
        for label in y.unique().tolist():
            have = found.setdefault(label, [])
            have.extend(x[y == label][: samples - len(have)])
        if number and all(len(have) == samples for have in found.values()) and number >= 10 or number >= 500:
            break
    if not found:
        raise UsageError("prepare needs at least one batch of training data")
    xs = torch.stack([x for have in found.values() for x in have])
    ys = torch.tensor([label for label, have in found.items() for _ in have], device=xs.device)
    return xs, ys
