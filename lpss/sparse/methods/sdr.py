"""SDR, sensitivity-driven regularisation (Tartaglione et al. 2018), with a sparsity that is asked for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.options import check_choice, check_range
from lpss.registries import METHODS
from lpss.sparse.methods.gmp import GMP

SENSITIVITIES = ("loss", "output", "target")


@METHODS.register("sdr")
class SDR(GMP):
    """GMP whose weights shrink where the net does not react to them: by shrinkage x w x max(0, 1 - sensitivity).

    sensitivity, of a weight, on this step's batch:
        `output`: the mean over classes of |d output / dw| (the reference's "unspecific").
        `target`: |d output of the right class / dw| ("specific").
        `loss`: |d loss / dw|, as in LOBSTER by the same group, which needs no backward pass of its own.
    Derivatives are those of the batch's mean output. `output` takes a backward pass for every class at every step,
    `target` one.

    The reference sets a threshold on |w| by hand, again and again; here the weights that stay are those of GMP's
    schedule, over all layers together, so that the sparsity is the requested one. With shrinkage=0 this is GMP.
    """

    label = "SDR"
    reference = (
        "Tartaglione et al. 2018, Learning Sparse Neural Networks via Sensitivity-Driven Regularization, "
        "https://arxiv.org/abs/1810.11764"
    )
    order = 55
    kind = "dense start"
    drops = "smallest |w|, shrunk"
    grows = "-"
    use = "GMP that lets unused weights fade first"

    no_spheres = "shrinks weights"

    @dataclass
    class Config(GMP.Config):
        scope: str = "global"
        sensitivity: str = "loss"
        shrinkage: float = 1e-4

    def check(self) -> None:
        super().check()
        check_range(self.config.shrinkage, "method.shrinkage", 0, 1)
        check_choice(self.config.sensitivity, "method.sensitivity", SENSITIVITIES)
        if not self.config.shrinkage:
            self.no_spheres = None
        self.looks_at_outputs = self.config.sensitivity != "loss" and self.config.shrinkage > 0
        self.sensitivity: list[Tensor | None] = []

    @property
    def _weights(self) -> list[Tensor]:
        return [layer.parameter for layer in self.masks.layers.values()]

    def before_backward(self, outputs: Tensor, targets: Tensor) -> None:
        weights = self._weights
        if self.config.sensitivity == "target":
            chosen = [outputs.gather(1, targets.unsqueeze(1)).mean()]
        else:
            chosen = list(outputs.mean(0))
        self.extra_backwards = len(chosen)
        found: list[Tensor | None] = [None] * len(weights)
        for output in chosen:
            gradients = torch.autograd.grad(output, weights, retain_graph=True, allow_unused=True)
            for place, gradient in enumerate(gradients):
                if gradient is not None:
                    size = gradient.abs() / len(chosen)
                    found[place] = size if found[place] is None else found[place] + size
        self.sensitivity = found

    def before_optimizer_step(self) -> None:
        super().before_optimizer_step()
        if self.config.shrinkage and self.config.sensitivity == "loss":
            self.sensitivity = [None if w.grad is None else w.grad.detach().abs() for w in self._weights]

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        super().after_optimizer_step()
        for weight, sensitivity in zip(self._weights, self.sensitivity, strict=False):
            if sensitivity is not None:
                weight.mul_(1 - self.config.shrinkage * (1 - sensitivity).clamp(min=0))
        self.sensitivity = []
