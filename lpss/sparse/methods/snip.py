"""SNIP (Lee et al. 2019), and the dynamic variant in the demo that the paper's authors published."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.errors import UsageError
from lpss.registries import METHODS
from lpss.sparse.distributions import check_distribution
from lpss.sparse.methods.base import Method
from lpss.sparse.methods.set import DropGrow
from lpss.sparse.select import top_k, top_k_of_all

log = logging.getLogger(__name__)


@METHODS.register("snip")
class SNIP(Method):
    """Prunes once, before the first step: the weights of largest |weight x gradient| on the first batch stay.

    scope: `global` (over all layers together, the reference) or `layer` (every layer at its share of `distribution`).

    Where the last layer begins at zero (as in torchvision's ViT), no gradient reaches the layers before it on the first
    batch, so that all their weights score zero and none may stay: it warns of that before training.
    """

    label = "SNIP"
    reference = (
        "Lee et al. 2019, SNIP: Single-shot Network Pruning based on Connection Sensitivity, "
        "https://arxiv.org/abs/1810.02340"
    )
    order = 40
    kind = "fixed"
    drops = "smallest |w g|, once"
    grows = "-"
    use = "masks from one batch; collapses at times at high sparsity"

    @dataclass
    class Config:
        scope: str = "global"
        distribution: str = "uniform"

    def check(self) -> None:
        if self.config.scope not in ("global", "layer"):
            raise UsageError(f"method.scope must be global or layer, got {self.config.scope!r}")
        check_distribution(self.config.distribution)
        self.keeps_layer_counts = self.config.scope == "layer"

    def distribution(self) -> str:
        return self.config.distribution if self.config.scope == "layer" else "uniform"

    def preflight_warnings(self) -> list[str]:
        """That layers which are zero at first let no gradient through, on which the choice of weights depends."""
        zero = [name for name, param in self.net.named_parameters() if param.dim() > 1 and not param.any()]
        if not zero or self.steps:
            return []
        return [f"SNIP chooses weights by gradients, which do not pass {', '.join(zero)}: all zero at first"]

    def should_update(self) -> bool:
        return self.steps == 0

    @property
    def dense_backward(self) -> bool:
        return self.should_update()

    @torch.no_grad()
    def update(self) -> None:
        saliency = {name: (layer.weight * self.gradient(name)).abs() for name, layer in self.masks.layers.items()}
        flat = [name for name, score in saliency.items() if not score.any()]
        if flat:
            log.warning("SNIP: all weights of %s score zero: which of them stay is arbitrary", ", ".join(flat))
        for name, mask in self._masks_by_saliency(saliency).items():
            self.set_mask(name, mask)
        self.after_initial_masks()

    def _masks_by_saliency(self, saliency: dict[str, Tensor]) -> dict[str, Tensor]:
        counts = self.layer_counts(self.sparsity, self.distribution())
        if self.config.scope == "layer":
            return {
                name: top_k(score, counts[name], torch.ones_like(score, dtype=torch.bool))
                for name, score in saliency.items()
            }
        return top_k_of_all(saliency, sum(counts.values()))


@METHODS.register("snip_dynamic")
class SNIPDynamic(DropGrow):
    """The demo's version of SNIP: from a random mask, every 2 steps drop the smallest |gradient|, grow the largest."""

    label = "SNIP (dynamic)"
    reference = "the demo of Li et al. 2021, https://github.com/WilliamLiPro/LpSS"
    reading_of = "snip"
    order = 41
    kind = "throughout"
    drops = "smallest |g|"
    grows = "largest |g|"
    use = "only to reproduce what the paper calls SNIP"
    revision = 2  # as RigL's

    @dataclass
    class Config(DropGrow.Config):
        drop_fraction: float = 0.2
        update_every: int = 2

    @property
    def dense_backward(self) -> bool:
        return self.should_update()

    def drop_score(self, name: str) -> Tensor:
        return self.gradient(name).abs()

    def grow_score(self, name: str) -> Tensor:
        return self.gradient(name).abs()
