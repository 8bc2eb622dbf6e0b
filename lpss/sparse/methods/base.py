"""What every sparse training method is: masks, a rule for when to change them, and one `step` for the training loop."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lpss.errors import UsageError
from lpss.optim.protocol import forget_curvature, keeps_zeros, latent_weights
from lpss.options import check_range, make_options
from lpss.sparse.attach import Attachment, state_of
from lpss.sparse.distributions import active_counts
from lpss.sparse.masks import Masks
from lpss.sparse.prepare import undisturbed
from lpss.sparse.reports import Reports
from lpss.sparse.select import random_k, top_k
from lpss.sparse.weights import MaskedWeights

log = logging.getLogger(__name__)
CHECK_EVERY = 100  # steps between counts of weights off the mask, which find what version counters do not


class Method(MaskedWeights, Reports):
    """A sparse training method on any net and optimizer.

        method = RigL(net, optimizer, sparsity=0.9, total_steps=1000)
        for x, y in batches:
            optimizer.zero_grad()
            loss(net(x), y).backward()
            method.step()                    # topology, masked gradients, optimizer step

    or, where a trainer of others calls `optimizer.step()`:  `RigL(...).attach()`.

    Args:
        net: any module; lpss/layers.py says which of its layers are masked.
        optimizer: any torch optimizer over the net's parameters. What it does not hold stays dense.
        sparsity: requested, over maskable weights, in [0, 1).
        total_steps: length of training, from which schedules and windows are counted.
        exclude: roles, types or name patterns of layers that are not masked.
        include: the same, of layers that are masked only when asked for: embeddings, bare parameters, shared weights.
        rescale: whether neurons are scaled up for the weights that the initial mask removes, see `rescale_neurons`.
        pretrained: whether the net has been trained before: the first masks then keep the largest weights.
        seed: of all random choices the method makes.
        state: `state_dict()` of a method to go on from, or what `attach` has saved of one as `lpss` in the optimizer's.
            Weights and optimizer then stay as they are.
        options: the fields of the method's `Config`.

    Raises UsageError for wrong options, and for an optimizer of another net.
    """

    moves_at_update = True  # whether a step that changes the masks moves the weights, too
    masks_gradients = True  # whether the optimizer sees masked gradients; False for dense ones
    needs_preparation = False  # whether `prepare` must be called before the first step
    looks_at_outputs = False  # whether `before_backward` is to be called at every step
    extra_backwards = 0  # backward passes that this takes
    counts_move = True  # whether an update may change how many weights of a layer are active
    capturable = True  # whether `optimizer_step` can be captured in a CUDA graph
    keeps_layer_counts = True  # whether every layer ends with its share of `distribution()`
    own_descent: str | None = None  # what the method does to weights beside masks, which keeps an engine from them
    no_spheres: str | None = None  # what the method does that has no meaning for weights on an L_p sphere
    revision = 1  # of the method's behaviour, a part of a run's hash (lpss/registry.py)

    name: str = "unregistered"  # of its registration
    # When its nets are sparse: `dense`, never; `fixed`, from the start, with masks that stay; `throughout`, from the
    # start, with masks that change; `dense start`, more and more.
    kind: str = "throughout"

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
        include=(),
        rescale: bool = False,
        pretrained: bool = False,
        seed: int = 0,
        state: Mapping | None = None,
        **options,
    ):
        check_range(sparsity, "sparsity", 0, 1, open_high=True)
        if total_steps < 1:
            raise UsageError(f"total_steps must be at least 1, got {total_steps}")
        self.config = make_options(self.Config, options, "method")
        optimizer = _unwrap(optimizer)
        super().__init__(Masks(net, exclude, include, held=_held(net, optimizer)), optimizer)
        self.net = net
        self.sparsity = sparsity
        self.total_steps = total_steps
        self.attachment: Attachment | None = None
        self.prepared = False
        self.rescale = rescale
        self.pretrained = pretrained
        self.generator = torch.Generator().manual_seed(seed)
        self.skipped_updates = 0  # topology updates that were due when gradients held NaN or inf
        self.topology_done = False  # whether this step's update has been made
        self.keeps_zeros = keeps_zeros(self.optimizer)
        self.check()
        self._check_spheres()
        if state is None:
            self.start()
        else:
            self._go_on(state)
        self.masks.note_weights()
        self._report_coverage()

    @torch.no_grad()
    def _go_on(self, state: Mapping) -> None:
        """Start as ever, but leave the weights and the optimizer's state as they were."""
        weights = [layer.parameter for layer in self.masks.layers.values()]
        before = [(tensor, tensor.clone()) for tensor in weights]
        before += [
            (value, value.clone())
            for weight in weights
            for value in self.optimizer.state.get(weight, {}).values()
            if torch.is_tensor(value)
        ]
        self.start()
        self.load_state_dict(state_of(self.name, state) if "method" in state else state)
        for tensor, value in before:
            tensor.copy_(value)

    @classmethod
    def trainings(cls, options: Mapping, sparsity: float) -> int:
        """How many trainings of ordinary length make a run of the method with these options."""
        return 1

    def check(self) -> None:
        """Raise UsageError for options out of range."""

    def start(self) -> None:
        """Set the initial masks."""

    def schedule_progress(self, step: int) -> float:
        """How far training has come at a step, in [0, 1), for the schedule of the learning rate."""
        return step / self.total_steps

    # --- topology -----------------------------------------------------------------------------------------------

    def should_update(self) -> bool:
        """Whether the masks change at this step; gradients are dense then."""
        return False

    def update(self) -> None:
        """Change the masks, with the dense gradients of this step's batch in `gradient(name)`."""

    @property
    def dense_backward(self) -> bool:
        """Whether this step's weight gradients are needed in full (for the accounting of FLOPs)."""
        return False

    @property
    def update_is_due(self) -> bool:
        """Whether the masks are still to change in this step."""
        return not self.topology_done and self.should_update()

    @property
    def wants_dense_gradients(self) -> bool:
        """Whether the gradients of the backward pass that comes next, or has just been made, are needed in full."""
        return not self.topology_done and self.dense_backward

    def gradient_counts(self) -> dict[str, int] | None:
        """Layer name -> number of weights whose gradients are computed between updates; None: the active ones'."""
        return None

    # --- what some methods need beside gradients ------------------------------------------------------------------

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the masks from the net and batches (x, y) of training data, before the first step.

        Does nothing for methods that do not say `needs_preparation`. Call it once, before training begins, not when it
        goes on. The net is as it was afterwards, but for the masks.
        """
        if not self.needs_preparation:
            return
        plain = nullcontext() if self.engine is None else self.engine.suspended()
        with plain, undisturbed(self.net), torch.enable_grad():
            masks = self.initial_masks(batches)
        with torch.no_grad():
            for name, active in masks.items():
                self.set_mask(name, active)
        self.prepared = True
        self.after_initial_masks()
        self.masks.note_weights()

    def initial_masks(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Layer name -> its mask (bool), of a method that needs preparation; anything may be done to the net meanwhile.

        Raises UsageError where the batches do not hold what is needed.
        """
        raise NotImplementedError

    def before_backward(self, outputs: Tensor, targets: Tensor) -> None:
        """Look at what the net gives, (batch, classes), and the classes (batch,), before the loss's backward pass.

        Only methods that say `looks_at_outputs` need the call.
        """

    # --- a step -------------------------------------------------------------------------------------------------

    def step(self, optimizer_step: Callable[[], None] | None = None, *, closure: Callable | None = None):
        """Call after backward, in place of `optimizer.step()`.

        Args:
            optimizer_step: stands in for the method's own `optimizer_step` (as a captured one does).
            closure: for optimizers that evaluate the loss themselves (LBFGS), as `optimizer.step` takes it; returns
                what the optimizer returns.

        Raises UsageError where a weight is no longer the net's.
        """
        if self.attachment is not None:
            return self.optimizer.step() if closure is None else self.optimizer.step(closure)
        if closure is not None:
            with Attachment(self, gradients=False):
                return self.optimizer.step(closure)
        self.begin_step()
        if self.change_topology():
            (optimizer_step or self.optimizer_step)()
        self.end_step()

    def begin_step(self) -> None:
        """Find and repair what was done to the weights from outside since the last step."""
        self.topology_done = False
        if self.needs_preparation and not self.prepared:
            raise UsageError(f"method {self.name} sets its masks before training: call prepare(batches) once, first")
        if self.engine is not None:
            self.engine.settle()
        changed = self.masks.changed()
        if changed:
            self._repair(changed)
        elif self.steps % CHECK_EVERY == 0 and any(self.masks.off_mask().values()):
            self._repair(list(self.masks))

    def change_topology(self) -> bool:
        """Update the masks if that is due; returns whether this step moves the weights."""
        due, self.topology_done = self.update_is_due, True
        if due and self._can_update():
            with self.dense_weights():
                dense = self.dense_backward
                if not dense:  # there are gradients of active weights alone: new connections have none yet
                    self.apply_gradient_masks()
                self.update()
                if dense:
                    self.gradients.give_back()
            forget_curvature(self.optimizer)
        return not due or self.moves_at_update

    def end_step(self) -> None:
        """Count the step, and take the weights as they are now for its result."""
        self.gradients.forget()
        self.topology_done = False
        self.steps += 1
        self.masks.note_weights()

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
        self.before_optimizer_step()
        self.optimizer.step()
        self.after_optimizer_step()

    def gradient_mask(self, name: str) -> Tensor:
        """Where the optimizer sees the layer's gradient, if `masks_gradients`: its mask."""
        return self.masks[name]

    def apply_gradient_masks(self) -> None:
        """Zero the gradients that the optimizer is not to see. Doing it again changes nothing."""
        if self.masks_gradients:
            self.masks.apply_to_gradients()

    def before_optimizer_step(self) -> None:
        """Zero the gradients off the masks."""
        self.apply_gradient_masks()

    def after_optimizer_step(self) -> None:
        """Zero what the optimizer has moved off the masks, if it is one that does."""
        if not self.keeps_zeros:
            self.masks.apply_to_weights()

    def mask_gradients(self) -> None:
        """Zero the gradients off the masks now, as `step` will do: call it after backward and before gradients are
        clipped, so that their norm is that of the gradients that are used. At a topology update the dense ones are
        kept, for the update and for new connections.
        """
        if self.masks_gradients and self.wants_dense_gradients:
            self.gradients.keep()
        self.apply_gradient_masks()

    # --- in others' trainers, and between processes and files ---------------------------------------------------

    def attach(self) -> "Method":
        """Make every `optimizer.step()` a step of this method, and its state a part of the optimizer's; returns itself.

        From then on the user's loop, a trainer or a GradScaler calls `optimizer.step()`, with or without a closure;
        gradients are masked as soon as backward has computed them, so that clipping sees masked ones; and
        `optimizer.state_dict()` holds the method's state as `lpss`, which `optimizer.load_state_dict()` takes back,
        without touching weights. Attaching twice is the same as once. See lpss/sparse/attach.py.

        Raises UsageError where another method is attached to the optimizer.
        """
        if self.attachment is None:
            self.attachment = Attachment(self).attach()
        return self

    def detach(self) -> None:
        """Undo `attach`."""
        if self.attachment is not None:
            self.attachment.detach()
            self.attachment = None

    def state_dict(self) -> dict:
        """Tensors and plain numbers: masks, step, random state and whatever a method adds."""
        return {
            "masks": self.masks.state_dict(),
            "steps": self.steps,
            "skipped_updates": self.skipped_updates,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Weights stay as they are; load those of the same checkpoint, before or after. Raises UsageError for the masks
        of another net."""
        with self.dense_weights():
            self.masks.load_state_dict(state["masks"])
        self.prepared = True
        self.steps, self.skipped_updates = state["steps"], state["skipped_updates"]
        self.generator.set_state(state["generator"].cpu())
        self.masks.forget_weights()

    # --- what methods share -------------------------------------------------------------------------------------

    def layer_counts(self, sparsity: float, distribution: str) -> dict[str, int]:
        """Layer name -> number of active weights at a sparsity that is spread over layers by `distribution`."""
        shapes = {name: tuple(mask.shape) for name, mask in self.masks.items()}
        blocks = {name: layer.blocks for name, layer in self.masks.layers.items()}
        return active_counts(shapes, sparsity, distribution, blocks)

    def start_random(self, sparsity: float, distribution: str) -> None:
        """The first masks at this sparsity, spread over layers by `distribution`: random, or of the largest weights
        if the net has been trained before."""
        for name, count in self.layer_counts(sparsity, distribution).items():
            mask = self.masks[name]
            if self.pretrained:
                weight = self.masks.layers[name].weight.detach()
                active = top_k(weight.abs(), count, torch.ones_like(weight, dtype=torch.bool))
            else:
                active = random_k(mask.shape, count, self.generator).to(mask.device)
            self.set_mask(name, active)
        self.after_initial_masks()

    def after_initial_masks(self) -> None:
        """Call when the masks that training begins with have been set."""
        if self.rescale:
            self.rescale_neurons()
        self.warn_layer_collapse()

    def _check_spheres(self) -> None:
        """Raises UsageError, with the reason, where a masked layer lives on a sphere and must not."""
        if self.no_spheres is None:
            return
        p_of = latent_weights(self.optimizer).p_of
        names = [name for name, layer in self.masks.layers.items() if p_of(layer.parameter) is not None]
        if names:
            raise UsageError(
                f"method {self.name} {self.no_spheres}: it cannot train {', '.join(names)} on an L_p sphere (optimizer "
                f"{type(self.optimizer).__name__}); use another optimizer, or take the layers off the sphere"
            )


def _unwrap(optimizer) -> torch.optim.Optimizer:
    """The optimizer itself, where another library has wrapped it (accelerate's AcceleratedOptimizer)."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner
    return optimizer


def _held(net: nn.Module, optimizer: torch.optim.Optimizer) -> set[int]:
    """ids of the parameters that the optimizer moves. Raises UsageError if none of them is the net's."""
    held = {id(param) for group in optimizer.param_groups for param in group["params"]}
    if not any(id(param) in held for param in net.parameters()):
        raise UsageError(
            f"the optimizer holds no parameter of this {type(net).__name__}: it was made for another net, or before "
            "parameters were replaced"
        )
    return held
