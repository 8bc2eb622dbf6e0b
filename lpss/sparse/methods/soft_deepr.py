"""Soft-DeepR (Bellec et al. 2018): deep rewiring in which dormant connections walk, too, and wake by themselves."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.errors import UsageError
from lpss.registries import METHODS
from lpss.sparse.methods.deepr import RandomWalk
from lpss.sparse.select import top_k


@METHODS.register("soft_deepr")
class SoftDeepR(RandomWalk):
    """DeepR whose dormant connections take a random walk below zero, and are active again when they come above it.

    A connection is sign x max(0, theta). Active thetas move as in DeepR; dormant ones by  lr noise nu  alone, not below

        theta_min = -T (1 - density) / (alpha density),   T = lr noise^2 / 2,

    where, by the reference's rule of thumb, the requested density is then the expected one: without a loss; where
    gradients outweigh the walk, more connections are active. Wanderers wake at the next update (every step). Nothing
    keeps the number of connections: what the rule leads to is reported as the sparsity before finish; with
    `exact_finish` the last update keeps the largest thetas, as many as are asked for.

    The reference's settings for MNIST: SGD without momentum, lr .05, alpha and noise 1e-5, batches of 10. Thetas of
    dormant connections take memory; they are a part of the method's state.
    """

    label = "soft-DeepR"
    reference = "Bellec et al. 2018, https://arxiv.org/abs/1711.05136, Algorithm 2"
    order = 13
    kind = "throughout"
    drops = "w that crosses zero"
    grows = "dormant that cross zero"
    use = "a sparsity that is only expected, as DeepR's authors study it"

    @dataclass
    class Config:
        distribution: str = "uniform"
        alpha: float = 1e-5
        noise: float = 1e-5
        begin: float = 0.0
        end: float = 1.0
        update_every: int = 1
        exact_finish: bool = True

    def check(self) -> None:
        super().check()
        for key in ("alpha", "noise"):
            if not getattr(self.config, key):
                raise UsageError(f"method.{key} must be above 0: the expected density follows from alpha and noise")

    def start(self) -> None:
        super().start()
        self.lowest, self.thetas = {}, {}  # thetas of dormant connections; 0 at active ones
        self.own_sparsity: float | None = None
        rates = self.rates()
        for name, mask in self.masks.items():
            density = min(max(float(mask.mean()), 1 / mask.numel()), 1.0)
            temperature = float(rates[name]) * self.config.noise**2 / 2
            self.lowest[name] = -temperature * (1 - density) / (self.config.alpha * density)
            drawn = torch.rand(mask.shape, generator=self.generator).to(mask)
            self.thetas[name] = drawn.mul_(self.lowest[name]).mul_(1 - mask)

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        super().after_optimizer_step()
        rates = self.rates()
        for name, layer in self.masks.layers.items():
            weight, mask, sign, theta = layer.weight.detach(), self.masks[name], self.signs[name], self.thetas[name]
            walk = self.noise(weight).mul_(rates[name])
            active = (mask != 0) & ~self.crossed[name]
            value = torch.where(active, weight * sign - rates[name] * self.config.alpha, theta)
            value = value.add_(walk).clamp_(min=self.lowest[name])
            self.crossed[name] |= active & (value < 0)
            awake = active & ~self.crossed[name]
            weight.copy_(torch.where(awake, value * sign, 0.0))
            theta.copy_(torch.where(awake, 0.0, value))

    @torch.no_grad()
    def update(self) -> None:
        last = self.steps == self.window.last_update
        masks = {name: self._awake(name) for name in self.masks}
        if last:
            total = sum(mask.numel() for mask in masks.values())
            self.own_sparsity = 1 - sum(int(mask.sum()) for mask in masks.values()) / max(total, 1)
            if self.config.exact_finish:
                counts = self.layer_counts(self.sparsity, self.config.distribution)
                masks = {name: self._largest(name, counts[name]) for name in masks}
        for name, active in masks.items():
            self.set_mask(name, active, self.thetas[name].clamp(min=0) * self.signs[name])
            self.thetas[name].mul_(~active)
            self.crossed[name].zero_()

    def _awake(self, name: str) -> Tensor:
        return (self.masks[name].bool() & ~self.crossed[name]) | (self.thetas[name] > 0)

    def _largest(self, name: str, count: int) -> Tensor:
        theta = self.masks.layers[name].weight.detach() * self.signs[name] + self.thetas[name]
        return top_k(theta, count, among=torch.ones_like(theta, dtype=torch.bool))

    def sparsity_before_finish(self) -> float | None:
        return self.own_sparsity

    def state_dict(self) -> dict:
        thetas = {name: theta.clone() for name, theta in self.thetas.items()}
        return super().state_dict() | {"thetas": thetas, "lowest": dict(self.lowest), "own_sparsity": self.own_sparsity}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.lowest, self.own_sparsity = dict(state["lowest"]), state["own_sparsity"]
        for name, theta in self.thetas.items():
            theta.copy_(state["thetas"][name])
