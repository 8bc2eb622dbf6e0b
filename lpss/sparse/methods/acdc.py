"""AC/DC, alternating compressed and decompressed training (Peste et al. 2021)."""

from dataclasses import dataclass

import torch

from lpss.optim.protocol import forget_momentum
from lpss.options import check_range
from lpss.registries import METHODS
from lpss.sparse.distributions import check_distribution
from lpss.sparse.methods.base import Method
from lpss.sparse.methods.gmp import check_scope
from lpss.sparse.select import largest


@METHODS.register("acdc")
class ACDC(Method):
    """Trains dense and sparse by turns, and sparse in the end: the net learns to do without most of its weights.

    After a dense warm-up, compressed phases (the largest weights stay, by `scope` over all layers together or in every
    layer by `distribution`, and masks do not change) and decompressed ones (all weights are trained, those that return
    begin at 0 and all momentum is forgotten) take turns; the last phase is compressed.

    warmup, phase, last: fractions of training: the warm-up's length, that of every other phase, and where the last one
    begins. The defaults are the reference's for CIFAR-10: .05, .1 and .85.
    reset_momentum: whether decompression forgets all momentum.
    """

    label = "AC/DC"
    reference = (
        "Peste et al. 2021, AC/DC: Alternating Compressed/DeCompressed Training of Deep Neural Networks, "
        "https://arxiv.org/abs/2106.12379"
    )
    order = 62
    kind = "dense start"
    drops = "smallest |w|, by turns"
    grows = "all, by turns"
    use = "accuracy first: gives a dense net along the way"

    @dataclass
    class Config:
        scope: str = "global"
        distribution: str = "uniform"
        warmup: float = 0.05
        phase: float = 0.1
        last: float = 0.85
        reset_momentum: bool = True

    def check(self) -> None:
        config = self.config
        check_scope(config.scope)
        check_distribution(config.distribution)
        check_range(config.warmup, "method.warmup", 0, 1, open_high=True)
        check_range(config.phase, "method.phase", 0, 1, open_low=True)
        check_range(config.last, "method.last", config.warmup, 1, open_high=True)
        self.keeps_layer_counts = config.scope == "layer"
        self.borders = self._borders()

    def _borders(self) -> dict[int, bool]:
        """Step -> whether a compressed phase begins there; a decompressed one else. A short run has fewer phases."""
        config, borders = self.config, {}

        def place(at: float, compressed: bool) -> None:
            borders[min(max(1, round(at * self.total_steps)), self.total_steps - 1)] = compressed

        at, compressed = config.warmup, True
        while at < config.last - 1e-9:
            place(at, compressed)
            at, compressed = at + config.phase, not compressed
        if not borders or compressed:  # the last one so far is decompressed
            place(config.last, True)
        return borders

    def should_update(self) -> bool:
        return self.steps in self.borders

    @torch.no_grad()
    def update(self) -> None:
        if not self.borders[self.steps]:
            for name, mask in self.masks.items():
                self.set_mask(name, torch.ones_like(mask, dtype=torch.bool))
            if self.config.reset_momentum:
                forget_momentum(self.optimizer)
            return
        counts = self.layer_counts(self.sparsity, self.config.distribution)
        scores = {name: layer.weight.detach().abs() for name, layer in self.masks.layers.items()}
        active = {name: mask.bool() for name, mask in self.masks.items()}
        for name, mask in largest(scores, counts, active, self.config.scope).items():
            self.set_mask(name, mask)
