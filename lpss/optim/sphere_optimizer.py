"""What all optimizers with weights on unit L_p spheres share: the torch API around a step that a subclass supplies."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import sgd

from lpss import sphere
from lpss.active import active_entries
from lpss.optim import backends, penalty
from lpss.optim.base import AUTO_P
from lpss.optim.groups import param_groups
from lpss.optim.nonfinite import NonfiniteCounter
from lpss.optim.scratch import Scratch
from lpss.optim.sgd import can_fuse
from lpss.optim.steps import compute_dtype, upcast
from lpss.options import check_range, later


class SphereOptimizer(Optimizer):
    """Checks, projection at construction, SGD for groups with p=None, and `LatentWeights` for sparse methods.

    `lr` is a plain step size for p=None groups; on the sphere it is eta of eqs (13) and (22), in [0, 1].
    `weight_decay` acts on p=None groups only: on the sphere the norm is fixed. A group whose weights have their neurons
    in dim 1 (ConvTranspose) says `neuron_dim: 1`.

    `penalty` is lambda of an L_p penalty  (lambda / p) sum |w|^p,  p = `penalty_p` >= 1, on the weights (of two or more
    dims) of p=None groups, as a `penalty_step`: `proximal` after the step, or `gradient`. See penalty.py.

    A learning rate may be a tensor on the weights' device: then a step reads nothing back and can be captured in a CUDA
    graph.

    A subclass supplies `_sphere_step`. Where its steps move another tensor than the weight, it overrides `latent`,
    `to_latent` and `retract`, too.
    """

    label: str
    reference: str
    takes_active_entries = True  # see protocol.steps_by_entries
    mixes = True  # whether lr on the sphere is eta, with which old and new are mixed

    @dataclass
    class Config:
        """lr is eta of the weights on the sphere, lr_free the learning rate of everything off it; p is a rule."""

        lr: float = 0.02
        lr_free: float = 0.1
        p: Any = "auto"
        momentum: float = 0.9
        nesterov: bool = False
        weight_decay: float = 0.0
        penalty: float = later(0.0)
        penalty_p: float = later(1.5)
        penalty_step: str = later("proximal")

        def __post_init__(self):
            if self.p == "auto":
                self.p = dict(AUTO_P)

    @classmethod
    def build(cls, net: nn.Module, config: Config, *, exclude: Sequence[str], sparsity: float) -> "SphereOptimizer":
        """See `OptimizerRecipe.build`; raises UsageError or ValueError for values out of range."""
        check_range(config.lr_free, "optimizer.lr_free", 0, float("inf"), open_high=True)
        check_range(config.weight_decay, "optimizer.weight_decay", 0, float("inf"), open_high=True)
        groups = param_groups(
            net,
            config.p,
            exclude=exclude,
            lr_free=config.lr_free,
            weight_decay=config.weight_decay,
            sparsity=sparsity,
        )
        options = {key: getattr(config, key) for key in ("momentum", "penalty", "penalty_p", "penalty_step")}
        return cls(groups, lr=config.lr, p=None, nesterov=config.nesterov and config.momentum > 0, **options)

    def __init__(
        self,
        params: Iterable,
        lr: float,
        p: float | None,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        penalty: float = 0.0,
        penalty_p: float = 1.5,
        penalty_step: str = "proximal",
    ):
        defaults = dict(lr=lr, p=p, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        defaults |= dict(penalty=penalty, penalty_p=penalty_p, penalty_step=penalty_step)
        self._start_afresh()
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        self._start_afresh()

    def _start_afresh(self) -> None:
        """What is in no copy, pickle or state_dict, and starts again after `load_state_dict`."""
        self.code_paths: set[str] = set()  # of the steps so far: names in backends.py
        self._nonfinite = NonfiniteCounter()
        self._capturable = False  # whether a step must not read values
        self._scratch = Scratch()

    # --- torch's API ------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict) -> None:
        """Check the group's options and put its weights on their sphere. Raises ValueError, naming the value."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _check_group(group)
            if group["p"] is not None:
                self._check_lr(group | {"lr": float(group["lr"])})
        except ValueError:
            self.param_groups.pop()
            raise
        if group["p"] is not None:
            with torch.no_grad():
                for param in group["params"]:
                    _put_on_sphere(neurons_first(param, group), group["p"])

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict) -> None:
        """As for any torch optimizer; state that is more precise than its weight stays so."""
        super().load_state_dict(state_dict)
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        params = [param for group in self.param_groups for param in group["params"]]
        for number, param in zip(numbers, params, strict=True):
            for key, value in state_dict["state"].get(number, {}).items():
                if torch.is_tensor(value) and value.dtype != self.state[param][key].dtype:
                    self.state[param][key] = value.to(param.device)  # torch has cast it to the weight's dtype

    @torch.no_grad()
    def step(self, closure=None):
        """One step; `closure`, where given, recomputes the loss, which is returned.

        Neurons whose gradient is exactly zero keep their weights. Neurons whose gradient holds NaN or inf keep their
        weights and state too; they are counted in `nonfinite_neurons` and, on the CPU, reported by a RuntimeWarning.

        Raises ValueError for sparse gradients, or an lr on the sphere that a schedule has led out of [0, 1].
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # A learning rate in a tensor means that the step may be captured: then nothing is read, on the CPU either.
        self._capturable = any(isinstance(group["lr"], Tensor) for group in self.param_groups)
        before = 0 if self._capturable else self._nonfinite.on_cpu()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if group["p"] is None:
                self._sgd_step(params, group)
                continue
            self._check_lr(group)
            if any(param.grad.is_sparse for param in params):
                raise ValueError("sparse gradients are not supported; use a dense layer")
            self._sphere_step(params, group)
        # Reading a GPU's counter would stall it: there the caller asks `nonfinite_neurons` when it wants to know.
        skipped = 0 if self._capturable else self._nonfinite.on_cpu() - before
        if skipped:
            warnings.warn(
                f"{skipped} neurons have a gradient with NaN or inf: their weights were kept",
                RuntimeWarning,
                stacklevel=2,
            )
        return loss

    @property
    def nonfinite_neurons(self) -> int:
        """How many neuron updates were skipped so far because the gradient held NaN or inf (reads the device)."""
        return self._nonfinite.total()

    # --- LatentWeights ----------------------------------------------------------------------------------------------

    def p_of(self, param: Tensor) -> float | None:
        """The p of the group that holds this parameter. Raises KeyError for a parameter of no group."""
        return self._group_of(param)["p"]

    def _group_of(self, param: Tensor) -> dict:
        for group in self.param_groups:
            if any(param is member for member in group["params"]):
                return group
        raise KeyError(f"the optimizer does not hold this parameter of shape {tuple(param.shape)}")

    def latent(self, param: Tensor) -> Tensor:
        """The tensor the update moves: v for LpSGD-m on the sphere, else the weight itself. Edit, then `retract`."""
        return param.detach()

    def to_latent(self, param: Tensor, weight: Tensor) -> Tensor:
        """Weight values, in the parameter's shape, as values of `latent(param)`."""
        return weight

    @torch.no_grad()
    def retract(self, param: Tensor) -> None:
        """Put a weight back on its sphere after its latent tensor was edited; does nothing where p is None."""
        group = self._group_of(param)
        if group["p"] is not None:
            neurons_first(param, group).copy_(sphere.normalize(neurons_first(upcast(param), group), group["p"]))

    def _check_lr(self, group: dict) -> None:
        """Raises ValueError for a learning rate on the sphere that is out of range."""
        # A tensor lr is left alone: reading it here would wait for the device in every step.
        lr = group["lr"]
        if self.mixes and not isinstance(lr, Tensor) and not 0.0 <= lr <= 1.0:
            raise ValueError(f"lr of a group on the sphere (p={group['p']}) is eta of eq (13), in [0, 1]; got {lr}")

    # --- steps ------------------------------------------------------------------------------------------------------

    def _sphere_step(self, params: list[Tensor], group: dict) -> None:
        """Move the group's weights that have a gradient; a subclass calls `_move` with them and their state."""
        raise NotImplementedError

    def _move(self, pieces: list[tuple[Tensor, ...]], group: dict, **momentum) -> None:
        """Hand weights with their state and gradients to `backends.move`, and note the code paths it took."""
        self.code_paths |= backends.move(
            [tuple(neurons_first(x, group) for x in piece) for piece in pieces],
            rows=[
                None if entries is None else entries.rows for entries in (active_entries(piece[0]) for piece in pieces)
            ],
            eta=group["lr"],
            p=group["p"],
            scratch=self._scratch,
            nonfinite=self._nonfinite,
            capturable=self._capturable,
            **momentum,
        )

    def _sgd_step(self, params: list[Tensor], group: dict) -> None:
        """torch's SGD, eqs (14), (25) and (26)."""
        buffers: list[Tensor | None] = [None] * len(params)
        if group["momentum"]:
            buffers = [self._buffer(param, "momentum_buffer") for param in params]
        gradients = [param.grad for param in params]
        strength, norm, kind = (group.get(key) for key in ("penalty", "penalty_p", "penalty_step"))
        if strength and kind == "gradient":
            gradients = [
                grad + penalty.gradient(param, strength, norm)
                if param.dim() > 1 or active_entries(param) is not None
                else grad
                for param, grad in zip(params, gradients, strict=True)
            ]
        fused = can_fuse(params)
        sgd(
            params,
            gradients,
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
            fused=fused,
            foreach=not fused,
        )
        if strength and kind == "proximal":
            for param in params:
                if param.dim() > 1 or active_entries(param) is not None:
                    param.copy_(penalty.proximal(param, group["lr"] * strength, norm))

    def _buffer(self, param: Tensor, key: str) -> Tensor:
        """A state tensor of the parameter, zero at first."""
        state = self.state[param]
        if key not in state:
            state[key] = torch.zeros_like(param, dtype=compute_dtype(param))
        return state[key]


def _put_on_sphere(weight: Tensor, p: float) -> None:
    """Normalise every neuron. A weight that is on its sphere up to rounding stays as it is to the last bit: it may be
    that of a checkpoint."""
    values = upcast(weight)
    norm = sphere.row_norm(values, p)
    rounding = min(100 * torch.finfo(weight.dtype).eps, 0.01)
    if not bool(((norm - 1).abs() <= rounding).logical_or(norm == 0).all()):
        weight.copy_(sphere.normalize(values, p))


def neurons_first(x: Tensor, group: dict) -> Tensor:
    """A tensor in the shape of the group's weights as (neurons, ...), and back again: both are the same exchange."""
    return x.transpose(0, 1) if group.get("neuron_dim") else x


def _check_group(group: dict) -> None:
    lr, p, momentum, decay = group["lr"], group["p"], group["momentum"], group["weight_decay"]
    if not _is_number(lr) or not 0.0 <= float(lr) < math.inf:
        raise ValueError(f"lr must be a finite number of at least 0, got {lr!r}")
    if not _is_number(momentum) or not 0.0 <= float(momentum) < 1.0:
        raise ValueError(f"momentum must be in [0, 1), got {momentum!r}")
    if not _is_number(decay) or not 0.0 <= float(decay) < math.inf:
        raise ValueError(f"weight_decay must be a finite number of at least 0, got {decay!r}")
    for key, least in (("penalty", 0.0), ("penalty_p", 1.0)):
        if not _is_number(group[key]) or not least <= group[key] < math.inf:
            raise ValueError(f"{key} must be a finite number of at least {least:g}, got {group[key]!r}")
    if group["penalty_step"] not in penalty.STEPS:
        raise ValueError(f"penalty_step must be one of {', '.join(penalty.STEPS)}, got {group['penalty_step']!r}")
    if group.get("neuron_dim", 0) not in (0, 1):
        raise ValueError(f"neuron_dim must be 0 or 1, got {group['neuron_dim']!r}")
    if p is None:
        if group["nesterov"] and momentum == 0:
            raise ValueError("nesterov needs a momentum greater than 0, got momentum=0")
    else:
        group["p"] = sphere.check_p(p)
        for param in group["params"]:
            if param.dim() < 2:
                raise ValueError(
                    f"a tensor of shape {tuple(param.shape)} is in a group with p={p}: a weight on the sphere needs 2 "
                    "or more dims. Put it in a group with p=None, or use lpss.param_groups(net, p=...)"
                )


def _is_number(value) -> bool:
    return isinstance(value, (int, float, Tensor)) and not isinstance(value, bool)
