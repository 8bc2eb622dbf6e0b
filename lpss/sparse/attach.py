"""A method in somebody else's training loop: through the hooks of the optimizer and of the weights' gradients.

    before optimizer.step()   what was done to the weights since the last step is repaired; topology; masked gradients
    after it                  weights off the masks are zero; the step is counted
    in backward               gradients are masked as they are computed, before anything can clip them
    optimizer.state_dict()    holds the method's state, too, and optimizer.load_state_dict() takes it back

The saved state stands under `lpss`, and in the first group, too, where torch hands on what it does not know: a trainer
that loads the optimizer's state before any method is attached does not lose the masks (`take_saved`).

With a closure, gradients exist only inside it: topology and masks follow its first evaluation. At a step that updates
the topology without moving the weights (RigL), the optimizer is given no gradients.

At a topology update, clipping sees dense gradients if several processes share the training: those of one process alone
must not be kept, since averaging comes later.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from lpss.active import active_entries
from lpss.errors import UsageError
from lpss.layers import Layer

if TYPE_CHECKING:
    from lpss.sparse.methods.base import Method

log = logging.getLogger(__name__)
KEY = "lpss"  # of the method's state in the optimizer's
ATTACHED = "_lpss_method"  # attribute of an optimizer: the method that is attached to it


def take_saved(optimizer: Optimizer) -> dict | None:
    """What a method's `attach` had saved with the state that this optimizer has loaded since, before a method is
    attached to it; None if there is nothing. The optimizer no longer holds it then."""
    return optimizer.param_groups[0].pop(KEY, None)


def state_of(name: str, saved: Mapping) -> dict:
    """The method's own state, of what `attach` has saved. Raises UsageError for that of another method."""
    if saved["method"] != name:
        raise UsageError(f"the loaded optimizer state is one of method {saved['method']}, not of {name}")
    return {key: value for key, value in saved.items() if key != "method"}


class Attachment:
    """The hooks of one method on its optimizer and weights. As a context manager it lasts for one call.

    `gradients`: whether gradients are masked in backward, and state is saved and loaded.
    """

    def __init__(self, method: "Method", gradients: bool = True):
        self.method, self.gradients = method, gradients
        self.handles: list = []
        self.moves = True
        self.loaded_masks = True
        self.set_aside: list[tuple[Tensor, Tensor | None]] = []

    def attach(self) -> "Attachment":
        """Register the hooks; returns itself. Raises UsageError where another method is attached to the optimizer."""
        method, optimizer = self.method, self.method.optimizer
        other = vars(optimizer).get(ATTACHED)
        if other is not None and other is not self.method:
            raise UsageError(f"method {other.name} is attached to this optimizer already: call its detach() first")
        self.handles = [optimizer.register_step_pre_hook(self._before), optimizer.register_step_post_hook(self._after)]
        if self.gradients:
            setattr(optimizer, ATTACHED, method)
            self.handles += [
                optimizer.register_state_dict_post_hook(self._save),
                optimizer.register_load_state_dict_pre_hook(self._load),
                optimizer.register_load_state_dict_post_hook(self._loaded),
            ]
            if method.masks_gradients:
                self.handles += [
                    layer.parameter.register_hook(self._in_backward(name, layer))
                    for name, layer in method.masks.layers.items()
                ]
        return self

    def detach(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        if self.gradients:
            vars(self.method.optimizer).pop(ATTACHED, None)

    __enter__ = attach

    def __exit__(self, *_) -> None:
        self.detach()

    # --- a step -------------------------------------------------------------------------------------------------

    def _before(self, optimizer, args: tuple, kwargs: dict):
        self.method.begin_step()
        self.moves, self.set_aside = True, []
        given = [value for value in (*args[1:2], kwargs.get("closure")) if value is not None]
        if not given:
            self._descend()
            return None

        def closure():
            loss = given[0]()
            self._descend()
            return loss

        return args[:1] + (closure, *args[2:]), {key: value for key, value in kwargs.items() if key != "closure"}

    def _descend(self) -> None:
        """From the gradients of backward to those that the optimizer is to see."""
        method = self.method
        if not method.topology_done:
            self.moves = method.change_topology()
        if self.moves:
            method.before_optimizer_step()
            return
        for group in method.optimizer.param_groups:
            for param in group["params"]:
                self.set_aside.append((param, param.grad))
                param.grad = None

    def _after(self, optimizer, args: tuple, kwargs: dict) -> None:
        for param, grad in self.set_aside:
            if param.grad is None:
                param.grad = grad
        self.set_aside = []
        if self.moves:
            self.method.after_optimizer_step()
        self.method.end_step()

    def _in_backward(self, name: str, layer: Layer) -> Callable[[Tensor], Tensor | None]:
        method = self.method

        def mask(gradient: Tensor) -> Tensor | None:
            if active_entries(layer.parameter) is not None:
                return None  # it is masked, and what an update needs has been kept
            if method.wants_dense_gradients:
                if not method.moves_at_update or _several_processes():
                    return None
                method.gradients.add(name, layer.view(gradient))
            return gradient * layer.view(method.gradient_mask(name))

        return mask

    # --- state --------------------------------------------------------------------------------------------------

    def _save(self, optimizer, state: dict) -> dict:
        own = {"method": self.method.name} | self.method.state_dict()
        first, *others = state["param_groups"]
        return state | {KEY: own, "param_groups": [first | {KEY: own}, *others]}

    def _load(self, optimizer, state: dict) -> dict:
        first, *others = state["param_groups"]
        own = state.get(KEY, first.get(KEY))
        self.loaded_masks = own is not None
        if self.loaded_masks:
            self.method.load_state_dict(state_of(self.method.name, own))
        else:
            log.warning("the loaded optimizer state holds no masks: %s goes on with its own", self.method.name)
        return _without_key(state) | {"param_groups": [_without_key(first), *others]}

    def _loaded(self, optimizer) -> None:
        method = self.method
        if not self.loaded_masks:  # momentum of a dense net would move weights off the masks
            with method.dense_weights():
                method.masks.apply_to_all(optimizer, method.unmasked_state)


def _without_key(state: dict) -> dict:
    return {key: value for key, value in state.items() if key != KEY}


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
