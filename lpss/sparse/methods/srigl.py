"""SRigL, RigL with constant fan-in (Lasby et al. 2024)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss import sphere
from lpss.options import check_range
from lpss.registries import METHODS
from lpss.sparse.methods.rigl import RigL
from lpss.sparse.select import row_counts, top_k, top_k_rows


@METHODS.register("srigl")
class SRigL(RigL):
    """RigL whose neurons all have as many active weights, but for those without any: constant fan-in, and ablation.

    At each update the weights that RigL would keep and grow in a layer are its salient ones. A neuron with fewer of
    them than `ablation` x the fan-in (one at least) is ablated for good, and its share goes to the others; each of
    these keeps its salient active weights, the largest if there are too many, and is filled up by |gradient|. No layer
    loses so many neurons that the others would be more than dense, and the head none.

    ablation: in [0, 1]; .3 for convolutional nets, .95 for vision transformers in the reference; 0 ablates none.

    Every layer's fan-in is a whole number, chosen such that the requested sparsity is missed least over all layers,
    after ablation, too: what a layer has too many or too few, those of fewer neurons make up for.
    """

    label = "SRigL"
    reference = "Lasby et al. 2024, Dynamic Sparse Training with Structured Sparsity, https://arxiv.org/abs/2305.02299"
    order = 32
    kind = "throughout"
    drops = "smallest |w|, neurons"
    grows = "largest |g|"
    use = "constant fan-in, which a condensed kernel can run fast"

    keeps_layer_counts = False

    @dataclass
    class Config(RigL.Config):
        distribution: str = "erk"
        ablation: float = 0.3

    def check(self) -> None:
        super().check()
        check_range(self.config.ablation, "method.ablation", 0, 1)

    def start(self) -> None:
        self.budget = self._whole_rows(self.layer_counts(self.sparsity, self.config.distribution))
        for name, count in self.budget.items():
            mask = sphere.rows(self.masks[name])
            fan_in = torch.full((len(mask),), count // len(mask), dtype=torch.int32, device=mask.device)
            score = torch.rand(mask.shape, generator=self.generator).to(mask.device)
            if self.pretrained:
                score = sphere.rows(self.drop_score(name))
            chosen = top_k_rows(score, fan_in, torch.ones_like(mask, dtype=torch.bool))
            self.set_mask(name, chosen.view_as(self.masks[name]))
        self.after_initial_masks()

    def _whole_rows(self, counts: dict[str, int]) -> dict[str, int]:
        """Counts that are multiples of the layers' neurons, with a sum as near as may be."""
        rows = {name: self.masks[name].shape[0] for name in counts}
        whole = {name: max(1, count // rows[name]) * rows[name] for name, count in counts.items()}
        missing = sum(counts.values()) - sum(whole.values())
        for name in sorted(counts, key=lambda name: (-rows[name], whole[name] - counts[name])):
            if rows[name] <= 2 * missing and whole[name] + rows[name] <= self.masks[name].numel():
                whole[name] += rows[name]
                missing -= rows[name]
        return whole

    @property
    def _head(self) -> str:
        return list(self.masks)[-1]

    @torch.no_grad()
    def update(self) -> None:
        fraction = self.config.drop_fraction * self.window.decay(self.config.drop_schedule, self.steps)
        missing, active_weights = 0, self.masks.active()
        for name in sorted(active_weights, key=lambda name: -self.masks[name].shape[0]):  # the finest steps last
            count = active_weights[name]
            changes = int(fraction * count)
            size, grad = sphere.rows(self.drop_score(name)), sphere.rows(self.grow_score(name))
            active = sphere.rows(self.masks[name].bool())
            kept = top_k(size, count - changes, among=active)
            salient = kept | top_k(grad, changes, among=~active)
            alive = self._alive(name, row_counts(salient), active.any(1))
            mask = self._constant_fan_in(alive, size, grad, kept, self.budget[name] + missing)
            self.set_mask(name, mask.view_as(self.masks[name]))
            missing += self.budget[name] - int(mask.sum())

    def _constant_fan_in(self, alive: Tensor, size: Tensor, grad: Tensor, kept: Tensor, total: int) -> Tensor:
        """A layer's mask (neurons, fan-in) of about `total` weights: those `kept`, filled up by |gradient|."""
        fan_in = min(max(1, round(total / int(alive.sum()))), kept.shape[1])
        wanted = torch.where(alive, fan_in, 0).to(torch.int32)
        kept = top_k_rows(size, wanted, kept & alive.unsqueeze(1))
        return kept | top_k_rows(grad, wanted - row_counts(kept), ~kept & alive.unsqueeze(1))

    def _alive(self, name: str, salient: Tensor, alive: Tensor) -> Tensor:
        """Which neurons are not ablated, of those that were `alive`."""
        if not self.config.ablation or name == self._head:
            return alive
        fan_in = self.budget[name] // int(alive.sum())
        least = max(1.0, self.config.ablation * fan_in)
        stays = alive & (salient >= least)
        fewest = -(-self.budget[name] // self.masks[name][0].numel())  # so many hold the budget when they are dense
        if int(stays.sum()) < fewest:
            stays = top_k(salient.float(), fewest, among=alive)
        return stays

    def layer_collapse(self) -> list[str]:
        """Ablated neurons are meant."""
        return [line for line in super().layer_collapse() if "collapsed" in line]
