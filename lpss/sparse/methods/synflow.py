"""SynFlow, iterative synaptic flow pruning (Tanaka et al. 2020)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.errors import UsageError
from lpss.registries import METHODS
from lpss.sparse.methods.base import Method
from lpss.sparse.select import top_k_of_all


@METHODS.register("synflow")
class SynFlow(Method):
    """Prunes in rounds before training, without data: the weights that carry most synaptic flow stay.

    With all weights, biases and BatchNorm statistics replaced by their magnitudes, in evaluation mode and on an input
    of ones, the score of a weight is |w dR/dw| of the sum R of outputs. Round k of `rounds` keeps density^(k / rounds)
    of all weights, over all layers together, and the next one scores what is left. In float64, since flows grow with
    depth.
    """

    label = "SynFlow"
    reference = (
        "Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow, "
        "https://arxiv.org/abs/2006.05467"
    )
    order = 43
    kind = "fixed"
    drops = "smallest flow, in rounds"
    grows = "-"
    use = "masks before training without data; no layer collapses"

    needs_preparation = True
    keeps_layer_counts = False

    @dataclass
    class Config:
        rounds: int = 100

    # Of the batches that `prepare` takes, only the shape of an example is used.

    def check(self) -> None:
        if self.config.rounds < 1:
            raise UsageError(f"method.rounds must be at least 1, got {self.config.rounds}")

    def initial_masks(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        x = next((x for x, _ in batches), None)
        if x is None:
            raise UsageError("prepare needs at least one batch of training data")
        ones = torch.ones_like(x[:1], dtype=torch.float64)
        whole = sum(self.layer_counts(self.sparsity, "uniform").values())
        kept = {name: torch.ones_like(mask, dtype=torch.bool) for name, mask in self.masks.items()}
        self.net.eval()
        self.net.double()
        _make_positive(self.net)
        for number in range(1, self.config.rounds + 1):
            density = (whole / self.masks.maskable) ** (number / self.config.rounds)
            count = whole if number == self.config.rounds else round(density * self.masks.maskable)
            kept = top_k_of_all(self._scores(ones), count, among=kept, at_least=1)
            with torch.no_grad():
                for name, layer in self.masks.layers.items():
                    layer.parameter.mul_(layer.view(kept[name]))
        return kept

    def _scores(self, ones: Tensor) -> dict[str, Tensor]:
        layers = self.masks.layers
        weights = [layer.parameter for layer in layers.values()]
        gradients = torch.autograd.grad(self.net(ones).sum(), weights, allow_unused=True)
        return {
            name: layer.view(torch.zeros_like(weight) if gradient is None else (weight.detach() * gradient).abs())
            for (name, layer), weight, gradient in zip(layers.items(), weights, gradients, strict=True)
        }


@torch.no_grad()
def _make_positive(net) -> None:
    for tensor in [*net.parameters(), *net.buffers()]:
        if tensor.is_floating_point():
            tensor.abs_()
