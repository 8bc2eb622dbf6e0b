"""What every sparse training method is: masks, a rule for when to change them, and one `step` for the training loop."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lpss.errors import UsageError
from lpss.optim.protocol import latent_weights
from lpss.options import check_range, make_options
from lpss.schedules.cosine import cosine
from lpss.sparse.distributions import active_counts
from lpss.sparse.masks import Masks
from lpss.sparse.select import random_k

log = logging.getLogger(__name__)


class Method:
    """A sparse training method on any net and optimizer.

        method = RigL(net, optimizer, sparsity=0.9, total_steps=1000)
        for x, y in batches:
            optimizer.zero_grad()
            loss(net(x), y).backward()
            method.step()                    # topology, masked gradients, optimizer step

    Args:
        net: its Linear and Conv weights are masked; `exclude` lists roles or name patterns that are not.
        optimizer: any torch optimizer over the net's parameters.
        sparsity: requested, over maskable weights, in [0, 1).
        total_steps: length of training, from which schedules and windows are counted.
        rescale: whether neurons are scaled up for the weights that the initial mask removes, see `rescale_neurons`.
        seed: of all random choices the method makes.
        options: the fields of the method's `Config`.

    Raises UsageError for wrong options.
    """

    unmasked_state: tuple[str, ...] = ()  # optimizer state that a changed mask does not reset
    moves_at_update = True  # whether a step that changes the masks moves the weights, too

    name: str  # of its registration

    @dataclass
    class Config:
        """Options and their defaults: what `conf/method/<name>.yaml` may say."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        sparsity: float,
        total_steps: int,
        exclude=(),
        rescale: bool = False,
        seed: int = 0,
        **options,
    ):
        check_range(sparsity, "sparsity", 0, 1, open_high=True)
        if total_steps < 1:
            raise UsageError(f"total_steps must be at least 1, got {total_steps}")
        self.config = make_options(self.Config, options, "method")
        self.optimizer = optimizer
        self.sparsity = sparsity
        self.total_steps = total_steps
        self.masks = Masks(net, exclude)
        self.rescale = rescale
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        self.skipped_updates = 0  # topology updates that were due when gradients held NaN or inf
        self.check()
        self.start()

    def check(self) -> None:
        """Raise UsageError for options out of range."""

    def start(self) -> None:
        """Set the initial masks."""

    def should_update(self) -> bool:
        """Whether the masks change at this step; gradients are dense then."""
        return False

    def update(self) -> None:
        """Change the masks, with the dense gradients of this step's batch in `weight.grad`."""

    @property
    def dense_backward(self) -> bool:
        """Whether this step's weight gradients are needed in full (for the accounting of FLOPs)."""
        return False

    def step(self, optimizer_step: Callable[[], None] | None = None) -> None:
        """Call after backward, in place of `optimizer.step()`; `optimizer_step` stands in for the method's own."""
        due = self.should_update()
        if due and self._can_update():
            self.update()
        if not due or self.moves_at_update:
            (optimizer_step or self.optimizer_step)()
        self.steps += 1

    def _can_update(self) -> bool:
        """Whether the gradients that the update ranks are finite: NaN would rank first (reads the device)."""
        if not self.dense_backward:
            return True
        largest = torch.stack(torch._foreach_norm([self.gradient(name) for name in self.masks], float("inf")))
        if bool(torch.isfinite(largest).all()):
            return True
        self.skipped_updates += 1
        log.warning("step %d: no topology update, gradients hold NaN or inf", self.steps)
        return False

    def optimizer_step(self) -> None:
        """Move the weights: the same operations on the same tensors at every step, so that it can be captured."""
        self.masks.apply_to_gradients()
        self.optimizer.step()

    def state_dict(self) -> dict:
        """Tensors and plain numbers: masks, step, random state and whatever a method adds."""
        return {
            "masks": self.masks.state_dict(),
            "steps": self.steps,
            "skipped_updates": self.skipped_updates,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        self.masks.load_state_dict(state["masks"])
        self.steps, self.skipped_updates = state["steps"], state["skipped_updates"]
        self.generator.set_state(state["generator"])

    # --- what methods share -------------------------------------------------------------------------------------
    def start_random(self, sparsity: float, distribution: str) -> None:
        """Random masks of this sparsity, spread over layers by `distribution`."""
        shapes = {name: tuple(mask.shape) for name, mask in self.masks.items()}
        for name, count in active_counts(shapes, sparsity, distribution).items():
            self.set_mask(name, random_k(self.masks[name].shape, count, self.generator).to(self.masks[name].device))
        self.after_initial_masks()

    def after_initial_masks(self) -> None:
        """Call when the masks that training begins with have been set."""
        if self.rescale:
            self.rescale_neurons()
        self.warn_layer_collapse()

    @torch.no_grad()
    def rescale_neurons(self) -> None:
        """Multiply each neuron's weights by sqrt(fan-in / active fan-in), as if initialised for the inputs it has left
        (Evci et al. 2022): else activations shrink by sqrt(density) in every layer. Weights on the sphere stay there.
        """
        weights = latent_weights(self.optimizer)
        for name, layer in self.masks.layers.items():
            if weights.p_of(layer.weight) is None:
                active = self.masks[name].flatten(1).sum(1).clamp(min=1)
                scale = (self.masks[name][0].numel() / active).sqrt()
                layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))

    @torch.no_grad()
    def set_mask(self, name: str, active: Tensor, new_values: Tensor | None = None) -> None:
        """A layer's new mask (bool). New connections start at `new_values` (a weight tensor; zero where None), and
        neurons that live on a sphere go back on it."""
        weight, mask, weights = self.masks.layers[name].weight, self.masks[name], latent_weights(self.optimizer)
        new = active & ~mask.bool() if new_values is not None else None
        self.masks.update(name, active, self.optimizer, self.unmasked_state)
        if new_values is not None:
            latent = weights.latent(weight)
            latent.copy_(torch.where(new, weights.to_latent(weight, new_values), latent))
        weights.retract(weight)
        weight.mul_(mask)  # a latent tensor that is not masked has values off the mask

    def gradient(self, name: str) -> Tensor:
        """The layer's dense gradient. Raises UsageError where backward has not been run."""
        grad = self.masks.layers[name].weight.grad
        if grad is None:
            raise UsageError(f"layer {name!r} has no gradient: call step() after a backward that reaches the layer")
        return grad

    def sparsity_before_finish(self) -> float | None:
        """The sparsity that the method's rule led to before it was made exact; None for most methods."""
        return None

    def requested_density(self) -> dict[str, float]:
        """Layer name -> density that the requested sparsity means for it."""
        shapes = {name: tuple(mask.shape) for name, mask in self.masks.items()}
        counts = active_counts(shapes, self.sparsity, self.distribution())
        return {name: counts[name] / mask.numel() for name, mask in self.masks.items()}

    def distribution(self) -> str:
        """How the requested sparsity is spread over layers."""
        return getattr(self.config, "distribution", "uniform")

    def preflight_warnings(self) -> list[str]:
        """Warnings of what will miss the request, as far as it is known before training."""
        return []

    def layer_collapse(self) -> list[str]:
        """A line for every layer without any active weight, or with neurons that have none (reads the device)."""
        lines = []
        for name, empty in self.masks.empty_neurons().items():
            neurons = self.masks[name].shape[0]
            if empty == neurons:
                lines.append(f"layer {name!r} has collapsed: none of its weights is active, so no signal passes")
            elif empty:
                lines.append(f"layer {name!r}: {empty} of {neurons} neurons have no active weight")
        return lines

    def warn_layer_collapse(self) -> None:
        """Log a warning if layers or neurons have no active weight."""
        for line in self.layer_collapse():
            log.warning(line)


class Window:
    """When topology updates happen: every so many steps of a part of training, and how far along it is.

    Args:
        begin, end: fractions of training.
        update_every: steps, or 0 for 40 or fewer, so that a short run still sees about `updates` of them.
    """

    def __init__(self, begin: float, end: float, update_every: int, total_steps: int, updates: int = 50):
        check_range(begin, "method.begin", 0, 1, open_high=True)
        if not begin < end <= 1:
            raise UsageError(f"method.end must be in (method.begin, 1], got {end} with method.begin={begin}")
        if update_every < 0:
            raise UsageError(f"method.update_every must be at least 1, or 0 for automatic, got {update_every}")
        self.first, self.last = round(begin * total_steps), round(end * total_steps)
        self.every = update_every or min(40, max(1, (self.last - self.first) // updates))

    @property
    def last_update(self) -> int:
        """The last step with an update; -1 if there is none."""
        last = self.last - 1 - (self.last - 1 - self.first) % self.every if self.last > self.first else -1
        return last if last > 0 else -1

    def should_update(self, step: int) -> bool:
        """Whether the masks change at this step; never at step 0, when the net has not been trained yet."""
        return self.first <= step < self.last and step > 0 and (step - self.first) % self.every == 0

    def decay(self, kind: str, step: int) -> float:
        """`cosine` (eq 4 without alpha: from 1 at step 0 to 0 at the window's end) or `constant`."""
        if kind == "constant":
            return 1.0
        if kind == "cosine":
            return cosine(step / max(self.last, 1))
        raise UsageError(f"method.drop_schedule must be cosine or constant, got {kind!r}")
