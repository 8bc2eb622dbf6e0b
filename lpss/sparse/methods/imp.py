"""IMP, iterative magnitude pruning with rewinding: lottery tickets (Frankle & Carbin 2019, Frankle et al. 2020)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.errors import UsageError
from lpss.optim.protocol import follow, forget_momentum
from lpss.options import check_range
from lpss.registries import METHODS
from lpss.sparse.methods.base import Method
from lpss.sparse.methods.gmp import check_scope
from lpss.sparse.select import largest

_SHARE = 0.2  # of the weights that are left, which a round prunes where the number of rounds is not given


@METHODS.register("imp")
class IMP(Method):
    """Trains again and again: prunes the smallest weights after each round, and rewinds the others to where they began.

    The first round is dense; each of the next begins with the net as it was early in the first one (weights, biases and
    statistics; momentum is forgotten) under masks that keep the largest weights of the round before, by `scope` over
    all layers or in each by its share. After `rounds` prunings, of the same share each, the sparsity is reached, and
    the last round trains the ticket.

    rounds: number of prunings; 0: so many that each takes about a fifth of what is left, as in the reference.
    rewind: fraction of a round: what weights are rewound to, 0 for their initial values.

    With lpss-train every round has the epochs of a whole run (`train.epochs`), and the learning rate's schedule begins
    anew with each: the run costs rounds + 1 times as much. As a library, `total_steps` are those of all rounds, and
    `method.schedule_progress(step)` says how far a round has come.
    """

    label = "IMP"
    reference = (
        "Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, "
        "https://arxiv.org/abs/1912.05671"
    )
    order = 64
    kind = "dense start"
    drops = "smallest |w|, by rounds"
    grows = "-"
    use = "lottery tickets: the costliest"
    several = True

    moves_at_update = False  # the gradient is that of weights that are gone

    @dataclass
    class Config:
        rounds: int = 0
        rewind: float = 0.0
        scope: str = "global"

    @classmethod
    def trainings(cls, options: Mapping, sparsity: float) -> int:
        return 1 + _prunings(options.get("rounds", 0), sparsity)

    def check(self) -> None:
        config = self.config
        check_scope(config.scope)
        check_range(config.rewind, "method.rewind", 0, 1, open_high=True)
        self.keeps_layer_counts = config.scope == "layer"
        self.prunings = _prunings(config.rounds, self.sparsity)
        self.length = self.total_steps // (self.prunings + 1)
        if self.length < 1:
            raise UsageError(
                f"{self.total_steps} steps are too few for {self.prunings + 1} rounds of method {self.name}"
            )
        self.beginning: dict[str, Tensor] = {}

    def should_update(self) -> bool:
        return self.steps > 0 and self.steps % self.length == 0 and self.steps // self.length <= self.prunings

    def schedule_progress(self, step: int) -> float:
        number = min(step // self.length, self.prunings)  # the last round takes the steps that are left over
        length = self.length if number < self.prunings else self.total_steps - number * self.length
        return (step - number * self.length) / length

    def begin_step(self) -> None:
        super().begin_step()
        if not self.beginning and self.steps >= round(self.config.rewind * self.length):
            with self.dense_weights():
                self.beginning = {key: value.clone() for key, value in self.net.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        number = self.steps // self.length
        counts = self.layer_counts(1 - (1 - self.sparsity) ** (number / self.prunings), "uniform")
        scores = {name: layer.weight.detach().abs() for name, layer in self.masks.layers.items()}
        active = {name: mask.bool() for name, mask in self.masks.items()}
        chosen = largest(scores, counts, active, self.config.scope)
        self.net.load_state_dict(self.beginning)
        forget_momentum(self.optimizer)
        for name, mask in chosen.items():
            layer = self.masks.layers[name]
            follow(self.optimizer, layer.parameter, torch.ones_like(layer.parameter))
            self.set_mask(name, mask)

    def state_dict(self) -> dict:
        return super().state_dict() | {"beginning": dict(self.beginning)}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.beginning = dict(state["beginning"])


def _prunings(rounds: int, sparsity: float) -> int:
    """How many rounds end with a pruning."""
    if rounds < 0:
        raise UsageError(f"method.rounds must be at least 1, or 0 for automatic, got {rounds}")
    if not sparsity:
        return 0
    return rounds or max(1, round(math.log(1 - sparsity) / math.log(1 - _SHARE)))
