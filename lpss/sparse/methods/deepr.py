"""DeepR, deep rewiring (Bellec et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.optim.protocol import forget_momentum_at
from lpss.options import check_choice, check_range
from lpss.registries import METHODS
from lpss.sparse.distributions import allot, check_distribution
from lpss.sparse.methods.base import Method
from lpss.sparse.select import random_among, random_scores
from lpss.sparse.window import Window

_CHOICES = {"scope": ("layer", "global"), "sign": ("fixed", "redraw", "free")}


class RandomWalk(Method):
    """Connections with a sign, whose weights take a random step of their own beside the optimizer's."""

    capturable = False  # the walk is drawn by a generator of its own
    own_descent = "moves weights by noise of its own, and rewires at every step"
    no_spheres = "drops weights that cross zero, as an L1 penalty and noise make them"

    def check(self) -> None:
        config = self.config
        check_distribution(config.distribution)
        check_range(config.alpha, "method.alpha", 0, float("inf"), open_high=True)
        check_range(config.noise, "method.noise", 0, float("inf"), open_high=True)
        self.window = Window(config.begin, config.end, config.update_every, self.total_steps)

    def start(self) -> None:
        self.signs = self.drawn_signs()
        self.start_random(self.sparsity, self.config.distribution)
        self.crossed = {name: torch.zeros_like(mask, dtype=torch.bool) for name, mask in self.masks.items()}
        self.walks: dict[torch.device, torch.Generator] = {}  # device -> its random numbers
        for mask in self.masks.values():
            if mask.device not in self.walks:
                seed = int(torch.randint(2**31, (1,), generator=self.generator))
                self.walks[mask.device] = torch.Generator(mask.device).manual_seed(seed)

    def drawn_signs(self) -> dict[str, Tensor]:
        """Of all connections, before the first masks hide some: those of their initial weights."""
        signs = {}
        for name, layer in self.masks.layers.items():
            weight = layer.weight.detach()
            drawn = random_scores(weight, self.generator).sub_(0.5).sign_().to(weight.dtype)
            signs[name] = torch.where(weight == 0, torch.where(drawn == 0, 1.0, drawn), weight.sign())
        return signs

    def should_update(self) -> bool:
        return self.window.should_update(self.steps)

    def rates(self) -> dict[str, float | Tensor]:
        """The layers' learning rates. (Groups are others when an optimizer has loaded its state.)"""
        rates = {id(param): group["lr"] for group in self.optimizer.param_groups for param in group["params"]}
        return {name: rates[id(layer.parameter)] for name, layer in self.masks.layers.items()}

    def noise(self, weight: Tensor) -> Tensor:
        """A step of the walk, but for the learning rate."""
        generator = self.walks[weight.device]
        nu = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
        return nu.mul_(self.config.noise)

    def state_dict(self) -> dict:
        return super().state_dict() | {
            "signs": {name: sign.clone() for name, sign in self.signs.items()},
            "crossed": {name: crossed.clone() for name, crossed in self.crossed.items()},
            "walks": {str(device): generator.get_state() for device, generator in self.walks.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        for name, sign in state["signs"].items():
            self.signs[name] = sign.to(self.masks[name])
        for name, crossed in self.crossed.items():
            crossed.copy_(state["crossed"][name])
        for device, generator in self.walks.items():
            if str(device) in state["walks"]:
                generator.set_state(state["walks"][str(device)].cpu())


@METHODS.register("deepr")
class DeepR(RandomWalk):
    """Connections have a sign; one whose weight crosses zero is dropped, and another grown at random in its place.

    After the optimizer's step every active weight w of sign s also moves by  -lr (alpha s + noise nu),  nu ~ N(0, 1):
    an L1 penalty and a random walk, of temperature T = lr noise^2 / 2 in the reference's notation. A weight that has
    crossed zero is zero from then on, and at the next update (every step) as many connections as have, drawn uniformly
    among those that are not active, take their place at 0.

    scope: `layer`, each layer replaces its own; or `global`, drawn by the layers' sizes.
    sign: of a connection: `fixed`, that of its initial weight; `redraw`, a new one for every new connection; or `free`,
        that of the weight before the step, as in Intel's code, whose results others' tables show.
    return_at_once: whether a connection may be drawn again in the update that drops it, as in the reference's code.

    The reference's settings for MNIST: SGD without momentum, lr .5, alpha and noise 1e-5, batches of 10, `fixed`.
    """

    label = "DeepR"
    reference = (
        "Bellec et al. 2018, Deep Rewiring: Training very sparse deep networks, https://arxiv.org/abs/1711.05136"
    )
    order = 12
    kind = "throughout"
    drops = "w that crosses zero"
    grows = "random"
    use = "a Bayesian view, one weight at a time; slow, and needs its learning rate tuned"

    @dataclass
    class Config:
        distribution: str = "uniform"
        scope: str = "layer"
        sign: str = "fixed"
        alpha: float = 1e-5
        noise: float = 1e-5
        return_at_once: bool = True
        begin: float = 0.0
        end: float = 1.0
        update_every: int = 1

    def check(self) -> None:
        super().check()
        for key, known in _CHOICES.items():
            check_choice(getattr(self.config, key), f"method.{key}", known)
        self.keeps_layer_counts = self.config.scope == "layer"
        self.counts_move = not self.keeps_layer_counts

    def drawn_signs(self) -> dict[str, Tensor]:
        return {} if self.config.sign == "free" else super().drawn_signs()

    # --- every step -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def before_optimizer_step(self) -> None:
        super().before_optimizer_step()
        if self.config.sign == "free":
            self.signs = {name: layer.weight.detach().sign() for name, layer in self.masks.layers.items()}

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        super().after_optimizer_step()
        rates = self.rates()
        for name, layer in self.masks.layers.items():
            weight = layer.weight.detach()
            active = self.masks[name].nonzero(as_tuple=True)
            value, sign = weight[active], self.signs[name][active]
            move = sign * self.config.alpha
            if self.config.noise:
                move = move.add_(self.noise(value))
            value -= move.mul_(rates[name])
            crossed = self.crossed[name][active] | (value * sign < 0)
            self.crossed[name][active] = crossed
            weight[active] = value.masked_fill_(crossed, 0.0)  # dormant until the next update

    # --- rewiring ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update(self) -> None:
        gone = torch.stack([crossed.sum() for crossed in self.crossed.values()]).tolist()
        dropped = dict(zip(self.crossed, gone, strict=True))
        if not any(gone):
            return
        kept = {name: self.masks[name].bool() & ~self.crossed[name] for name in dropped}
        free = {name: ~mask if self.config.return_at_once else self.masks[name] == 0 for name, mask in kept.items()}
        grown = dropped
        if self.config.scope == "global":
            room = dict(zip(free, torch.stack([places.sum() for places in free.values()]).tolist(), strict=True))
            grown = allot({name: mask.numel() for name, mask in kept.items()}, sum(gone), room)
        for name, mask in kept.items():
            if not dropped[name] and not grown[name]:
                continue
            new = random_among(free[name], grown[name], self.generator)
            layer = self.masks.layers[name]  # the mask tells nothing of connections that go and come back at once
            forget_momentum_at(self.optimizer, layer.parameter, layer.view(new & self.masks[name].bool()))
            self.set_mask(name, mask | new)
            if self.config.sign == "redraw":
                drawn = torch.where(random_scores(mask, self.generator) < 0.5, -1.0, 1.0).to(self.signs[name].dtype)
                self.signs[name] = torch.where(new, drawn, self.signs[name])
            self.crossed[name].zero_()

    def state_dict(self) -> dict:
        return super().state_dict() | ({"signs": {}} if self.config.sign == "free" else {})
