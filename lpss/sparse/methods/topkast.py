"""Top-KAST, always sparse training with a wider backward pass (Jayakumar et al. 2020); DPF as a corner case of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lpss.options import check_range
from lpss.registries import METHODS
from lpss.sparse.distributions import check_distribution
from lpss.sparse.methods.base import Method
from lpss.sparse.methods.gmp import SCHEDULES
from lpss.sparse.select import top_k
from lpss.sparse.window import Window


@METHODS.register("topkast")
class TopKAST(Method):
    """All weights are kept, the largest are used, and gradients move these and the next largest.

    The forward pass uses the set A of a layer's largest weights, gradients (taken there) move a larger set B: what is
    in B but not in A may grow until it is used. Both are drawn anew every `update_every` steps; from `end` of training
    on B is A, and the masks are fixed.

    backward_density: of B, beyond the density of A: .1 adds a tenth of all weights; 1 moves all of them.
    penalty: an L2 penalty on weights, off A divided by A's density, so that what is not used decays and must be
        moved to come back. (The optimizer's own weight decay acts on all weights in B alike.)
    start_sparsity: of A at first; it follows GMP's cubic schedule until `end` where it is less than the requested one.

    DPF (Lin et al. 2020, https://arxiv.org/abs/2006.07253) is backward_density=1, penalty=0, start_sparsity=0 and
    update_every=16. Weights that are kept but not used take memory; they are a part of the method's state.
    """

    label = "Top-KAST"
    reference = "Jayakumar et al. 2020, Top-KAST: Top-K Always Sparse Training, https://arxiv.org/abs/2106.03517"
    order = 34
    kind = "throughout"
    drops = "smallest |w| of all"
    grows = "largest |w| of all"
    use = "weights that are not used learn, too"

    own_descent = "moves weights that are not used"
    no_spheres = "keeps weights that are not used"

    @dataclass
    class Config:
        distribution: str = "uniform"
        backward_density: float = 0.1
        penalty: float = 1e-4
        start_sparsity: float = 1.0
        begin: float = 0.0
        end: float = 0.75
        update_every: int = 0

    def check(self) -> None:
        config = self.config
        check_distribution(config.distribution)
        check_range(config.backward_density, "method.backward_density", 0, 1)
        check_range(config.penalty, "method.penalty", 0, float("inf"), open_high=True)
        check_range(config.start_sparsity, "method.start_sparsity", 0, 1)
        self.window = Window(config.begin, config.end, config.update_every, self.total_steps)

    def start(self) -> None:
        self.hidden = {name: torch.zeros_like(layer.parameter) for name, layer in self.masks.layers.items()}
        self.moved = {name: torch.ones_like(mask) for name, mask in self.masks.items()}
        self.before: dict[str, Tensor] = {}
        self._draw(min(self.config.start_sparsity, self.sparsity))
        self.after_initial_masks()

    @property
    def unmasked_state(self) -> tuple[str, ...]:
        """All that the optimizer keeps for single weights: those that are not used have momentum, too."""
        names = {
            key
            for layer in self.masks.layers.values()
            for key, value in self.optimizer.state.get(layer.parameter, {}).items()
            if torch.is_tensor(value) and value.shape == layer.parameter.shape
        }
        return tuple(sorted(names))

    # --- which weights are used, and which are moved ------------------------------------------------------------------

    def should_update(self) -> bool:
        return self.window.should_update(self.steps)

    @torch.no_grad()
    def update(self) -> None:
        first = min(self.config.start_sparsity, self.sparsity)
        share = SCHEDULES["cubic"](self.window.progress(self.steps))
        self._draw(first + (self.sparsity - first) * share)

    @torch.no_grad()
    def _draw(self, sparsity: float) -> None:
        """Choose A and B anew."""
        counts = self.layer_counts(sparsity, self.config.distribution)
        explores = self.steps < self.window.last_update
        for name, layer in self.masks.layers.items():
            whole = layer.parameter + self.hidden[name]
            size = layer.view(whole).abs()
            everywhere = torch.ones_like(size, dtype=torch.bool)
            used = top_k(size, counts[name], everywhere)
            wider = round(self.config.backward_density * size.numel()) if explores else 0
            moved = top_k(size, counts[name] + wider, everywhere) | used
            self.set_mask(name, used, layer.view(whole))
            self.moved[name].copy_(moved)
            self.hidden[name].copy_(whole * layer.view(~used))

    def gradient_mask(self, name: str) -> Tensor:
        return self.moved[name]

    @torch.no_grad()
    def apply_gradient_masks(self) -> None:
        for name, layer in self.masks.layers.items():
            if layer.parameter.grad is not None:
                layer.parameter.grad.mul_(layer.view(self.moved[name]))

    def gradient_counts(self) -> dict[str, int]:
        return {name: int(moved.sum()) for name, moved in self.moved.items()}

    # --- every step -------------------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        self.before.clear()  # of a step that was not ended
        super().begin_step()

    @torch.no_grad()
    def before_optimizer_step(self) -> None:
        """Put all weights in place; gradients are those of the used ones, and of the penalty."""
        super().before_optimizer_step()
        for name, layer in self.masks.layers.items():
            weight, mask, moved = layer.parameter, layer.view(self.masks[name]), layer.view(self.moved[name])
            if name not in self.before:  # an optimizer with a closure may come here again
                weight.add_(self.hidden[name])
                self.before[name] = weight.detach().clone()
            if self.config.penalty and weight.grad is not None:
                density = mask.mean().clamp(min=1 / mask.numel())
                weight.grad.addcmul_(weight * self.config.penalty, moved * torch.where(mask != 0, 1.0, 1 / density))

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        """Put back what is not to move, and take what is not used out of the net."""
        for name, layer in self.masks.layers.items():
            weight, mask, moved = layer.parameter, layer.view(self.masks[name]), layer.view(self.moved[name])
            weight.copy_(torch.where(moved != 0, weight, self.before.pop(name)))
            torch.mul(weight, 1 - mask, out=self.hidden[name])
            weight.mul_(mask)

    # --- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        return super().state_dict() | {
            "hidden": {name: value.clone() for name, value in self.hidden.items()},
            "moved": {name: value.bool() for name, value in self.moved.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        for name, value in self.hidden.items():
            value.copy_(state["hidden"][name])
            self.moved[name].copy_(state["moved"][name])
