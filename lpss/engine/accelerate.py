"""A net that is trained by a sparse method, made to compute from its active weights alone."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from lpss.engine.modules import exchange, exchange_between, obstacle, plain
from lpss.engine.pattern import Pattern
from lpss.engine.site import Site
from lpss.errors import UsageError
from lpss.layers import unwrap
from lpss.optim.protocol import steps_by_entries
from lpss.sparse.methods.base import Method

log = logging.getLogger(__name__)


def accelerate(net: nn.Module, method: Method, limits: Mapping[str, float] | None = None) -> "Acceleration":
    """Have a net on the CPU compute from its active weights alone, forward and backward, from now on.

        method = lpss.RigL(net, optimizer, sparsity=0.9, total_steps=1000)
        acceleration = lpss.accelerate(net, method)
        ...                                          # any training loop
        acceleration.undo()                          # if ever

    Masked Linear and Conv2d layers keep their active weights alone, as does the optimizer their state; what lies
    between them (BatchNorm, pooling) keeps the layout that they use. Where no layer computes sparse, BatchNorm of
    images does the ReLU and residual after it, and all else stays what it is. `net.state_dict()`,
    `optimizer.state_dict()` and the method's are as ever. A layer that cannot compute sparse stays dense:
    `print(acceleration)` says which and why.

    Args:
        net: the method's net, not wrapped.
        method: any of the package's methods, on any optimizer.
        limits: layer name -> the density up to which it computes sparse; layers that are not named stay dense. None for
            all layers, at any density.

    Raises UsageError for a net that is accelerated already, is wrapped, or is not the method's.
    """
    return Acceleration(net, method, limits)


class Acceleration:
    """See `accelerate`.

    sites: layer name -> how its weight is kept. dense: name of a masked layer that stays dense -> why.
    """

    def __init__(self, net: nn.Module, method: Method, limits: Mapping[str, float] | None = None):
        if unwrap(net) is not net:
            raise UsageError(f"accelerate takes the net itself, not {type(net).__name__} around it")
        if method.engine is not None:
            raise UsageError("this method's net is accelerated already: call undo() first")
        self.net, self.method, self.limits = net, method, limits
        own = {id(module) for module in net.modules()}
        if not all(id(layer.module) in own for layer in method.masks.layers.values()):
            raise UsageError(f"the method was made for another net than this {type(net).__name__}")
        self._begin()

    def _begin(self) -> None:
        self.sites: dict[str, Site] = {}
        self.dense: dict[str, str] = {}
        self._loading = False
        self._choose()
        optimizer = self.method.optimizer
        self._handles = [
            optimizer.register_state_dict_post_hook(self._whole_state),
            optimizer.register_load_state_dict_pre_hook(self._before_load),
            optimizer.register_load_state_dict_post_hook(self._after_load),
        ]
        self.method.engine = self
        self.close()

    def _choose(self) -> None:
        """Which layers can compute sparse; exchanges their modules and those between."""
        reason = self._reason()
        for name, layer in self.method.masks.layers.items():
            why = reason or obstacle(layer)
            if why is None and self.limits is not None and not self.limits.get(name, 0.0) > 0.0:
                why = "dense products are faster"
            if why is not None:
                self.dense[name] = why
                continue
            exchange(layer.module)
            layer.module.site = self.sites[name] = Site(layer.module, name, self)
        self.between = exchange_between(self.net, sparse=bool(self.sites))

    def _reason(self) -> str | None:
        """Why no layer can compute sparse."""
        method = self.method
        if method.kind == "dense":
            return f"method {method.name} masks nothing"
        if not method.masks_gradients:
            return f"method {method.name} hands its optimizer dense gradients"
        if method.own_descent:
            return f"method {method.name} {method.own_descent}"
        if method.unmasked_state:
            return f"the method keeps {', '.join(method.unmasked_state)} of inactive weights"
        if not steps_by_entries(method.optimizer):
            return f"{type(method.optimizer).__name__} does not move each weight by itself"
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return "several processes share the training"
        return None

    # --- whole weights, or active ones ----------------------------------------------------------------------------

    def open(self) -> None:
        """Make all weights whole, and their gradients and state."""
        for site in self.sites.values():
            self.open_one(site)

    def open_one(self, site: Site) -> None:
        """As `open`, of one layer."""
        if site.pattern is not None:
            self.method.masks.restore(site.name)
            site.open()

    def close(self) -> None:
        """Let weights hold their active entries alone, as the masks are now, where the density is low enough."""
        for site in self.sites.values():
            self.close_one(site)

    def settle(self) -> None:
        """Close the weights that have been loaded."""
        for site in self.sites.values():
            site.settle()

    def settle_one(self, site: Site) -> None:
        """Close a weight that has been loaded, or that failed to be."""
        self._loading = False
        self.close_one(site)

    @torch.no_grad()
    def close_one(self, site: Site) -> None:
        """As `close`, of one layer. One with weights off its mask stays whole until a step has repaired it."""
        if site.pattern is not None:
            return
        site.waiting = True
        mask = self.method.masks[site.name]
        if self._loading or mask.device != site.parameter.device:
            return
        if self.limits is not None and mask.count_nonzero() > self.limits[site.name] * mask.numel():
            site.waiting = False
            return
        pattern = Pattern(mask)
        if pattern.gather(site.parameter).count_nonzero() != site.parameter.count_nonzero():
            return  # there are weights off the mask
        site.close(pattern)
        self.method.masks.release(site.name)

    def undo(self) -> None:
        """Make the net, its optimizer and its method what they would be without; does nothing a second time."""
        if self.method.engine is not self:
            return
        self.open()
        for site in self.sites.values():
            plain(site.module)
        for module in self.between:
            plain(module)
        for handle in self._handles:
            handle.remove()
        self.method.engine = None

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Within it the net is as it would be without."""
        self.undo()
        try:
            yield
        finally:
            self._begin()

    # --- files ----------------------------------------------------------------------------------------------------

    def _whole_state(self, optimizer, state: dict) -> dict:
        """The optimizer's state with whole tensors."""
        params = [param for group in optimizer.param_groups for param in group["params"]]
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        number_of = {id(param): number for param, number in zip(params, numbers, strict=True)}
        states = dict(state["state"])
        for site in self.sites.values():
            number = number_of[id(site.parameter)]
            if site.pattern is not None and number in states:
                states[number] = {
                    key: site.pattern.expand(value)
                    if torch.is_tensor(value) and value.shape == site.parameter.shape
                    else value
                    for key, value in states[number].items()
                }
        return state | {"state": states}

    def _before_load(self, optimizer, state: dict) -> None:
        for site in self.sites.values():
            site.wait()
        self._loading = True

    def _after_load(self, optimizer) -> None:
        self._loading = False

    def __reduce__(self):
        raise UsageError(
            "the method of an accelerated net cannot be copied or pickled: save its state_dict(), or call undo() first"
        )

    # --- what it says of itself -------------------------------------------------------------------------------------

    def sparse_now(self) -> list[str]:
        """Names of the layers that compute sparse now."""
        return [name for name, site in self.sites.items() if site.pattern is not None]

    def line(self) -> str:
        """Which layers compute sparse, and why others do not."""
        count, masked = len(self.sites), len(self.method.masks)
        dense = [f"{name} ({why})" for name, why in self.dense.items()]
        text = f"{count} of {masked} masked layers compute from their active weights alone"
        return f"{text}; dense: {', '.join(dense)}" if dense else text

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.line()}>"
