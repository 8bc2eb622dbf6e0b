"""SNFS, sparse networks from scratch by sparse momentum (Dettmers & Zettlemoyer 2019)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.options import check_choice, check_range
from lpss.registries import METHODS
from lpss.sparse.distributions import allot
from lpss.sparse.methods.set import DropGrow, replaced

_CHOICES = {"momentum": ("optimizer", "own"), "redistribution": ("momentum", "none")}
_NEARLY_DENSE = 0.2  # a layer with fewer zeros drops no more than it has


@METHODS.register("snfs")
class SNFS(DropGrow):
    """Drops the smallest weights, grows where the momentum of dense gradients is largest, layer by layer as it asks.

    At each update every layer drops a fraction of its active weights. All that was dropped is then shared out in
    proportion to the mean |momentum| of the layers' active weights, and each layer grows its share where |momentum| is
    largest. Momentum is fed with dense gradients at every step, so every backward pass is dense.

    momentum: `optimizer`, the optimizer's own where it keeps one (SGD with momentum; of Adam's kind the first moment
        over the root of the second), which sees dense gradients then; or `own`, an average of dense gradients with
        `decay`, which is also used where the optimizer keeps none.
    redistribution: `momentum`, or `none`, with which each layer grows what it dropped. `own` and `none` with RigL's
        schedule are what RigL's tables call SNFS.

    The total is exact; in the authors' code it wanders a little. They update once an epoch, until the end, and lower
    the fraction from .5 to .005 (here to 0).
    """

    label = "SNFS"
    reference = "Dettmers and Zettlemoyer 2019, Sparse Networks from Scratch, https://arxiv.org/abs/1907.04840"
    order = 15
    kind = "throughout"
    drops = "smallest |w|"
    grows = "largest |momentum|"
    use = "layers find their densities; pays for dense gradients at every step"

    own_descent = "needs dense gradients at every step"

    @dataclass
    class Config(DropGrow.Config):
        drop_fraction: float = 0.5
        end: float = 1.0
        momentum: str = "optimizer"
        decay: float = 0.9
        redistribution: str = "momentum"

    def check(self) -> None:
        super().check()
        for key, known in _CHOICES.items():
            check_choice(getattr(self.config, key), f"method.{key}", known)
        check_range(self.config.decay, "method.decay", 0, 1, open_high=True)
        self.keeps_layer_counts = self.config.redistribution == "none"
        self.unmasked_state = self._momentum_names() if self.config.momentum == "optimizer" else ()
        self.masks_gradients = not self.unmasked_state
        self.average: dict[str, Tensor] = {}
        if self.masks_gradients:
            self.average = {name: torch.zeros_like(mask) for name, mask in self.masks.items()}

    def _momentum_names(self) -> tuple[str, ...]:
        """Where the optimizer keeps the momentum of an ordinary weight; empty where it does not."""
        groups = self.optimizer.param_groups
        if type(self.optimizer) is torch.optim.SGD and all(group["momentum"] for group in groups):
            return ("momentum_buffer",)
        if isinstance(self.optimizer, (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam)):
            return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        return ()

    @property
    def dense_backward(self) -> bool:
        return True

    def before_optimizer_step(self) -> None:
        for name, average in self.average.items():
            average.lerp_(self.gradient(name), 1 - self.config.decay)
        super().before_optimizer_step()

    def after_optimizer_step(self) -> None:
        if self.masks_gradients:
            super().after_optimizer_step()
        else:
            self.masks.apply_to_weights()

    def grow_score(self, name: str) -> Tensor:
        """|momentum| of all weights."""
        if self.average:
            return self.average[name].abs()
        layer = self.masks.layers[name]
        state = self.optimizer.state.get(layer.parameter, {})
        if "exp_avg" in state:
            momentum = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + 1e-8)
        else:
            momentum = state.get("momentum_buffer")
        return torch.zeros_like(self.masks[name]) if momentum is None else layer.view(momentum).abs()

    @torch.no_grad()
    def update(self) -> None:
        scores = {name: self.grow_score(name) for name in self.masks}
        counts = self.masks.active()
        shares = self._shares(scores, counts)
        dropped = {name: self._dropped(name, count, shares[name]) for name, count in counts.items()}
        grown = dropped if self.keeps_layer_counts else self._shared_out(dropped, counts, shares)
        for name, score in scores.items():
            keep = counts[name] - dropped[name]
            self.set_mask(name, replaced(self.masks[name].bool(), self.drop_score(name), score, keep, grown[name]))

    def _shares(self, scores: dict[str, Tensor], counts: dict[str, int]) -> dict[str, float]:
        """Layer -> the mean |momentum| of its active weights, relative to the sum over layers."""
        sums = torch.stack([(score * self.masks[name]).sum(dtype=torch.float64) for name, score in scores.items()])
        means = sums / torch.tensor([max(count, 1) for count in counts.values()], dtype=torch.float64).to(sums)
        total = means.sum()
        shares = (means / total).tolist() if 0 < total < math.inf else [1 / len(means)] * len(means)
        return dict(zip(scores, shares, strict=True))

    def _dropped(self, name: str, count: int, share: float) -> int:
        """How many active weights the layer drops."""
        rate = self.config.drop_fraction * self.window.decay(self.config.drop_schedule, self.steps)
        zeros = 1 - count / self.masks[name].numel()
        if zeros < _NEARLY_DENSE and share > 1 / len(self.masks):
            rate = min(rate, zeros)
        return min(count, math.ceil(rate * count))

    def _shared_out(self, dropped: dict[str, int], counts: dict[str, int], shares: dict[str, float]) -> dict[str, int]:
        """How many connections each layer grows."""
        room = {name: self.masks[name].numel() - counts[name] + dropped[name] for name in dropped}
        caps = {name: int(0.99 * count) for name, count in room.items()}
        total = sum(dropped.values())
        return allot(shares, total, caps if sum(caps.values()) >= total else room)

    def state_dict(self) -> dict:
        return super().state_dict() | {"average": {name: value.clone() for name, value in self.average.items()}}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        for name, value in self.average.items():
            value.copy_(state["average"][name])
