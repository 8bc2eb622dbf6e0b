"""LpSGD and LpSGD-m: gradient descent with every neuron's weights on the unit L_p sphere.

Both are ordinary `torch.optim.Optimizer`s. `p` is a per-group option; a group with `p=None` is plain SGD
(momentum, weight decay), so that one optimizer serves a whole net: weights on the sphere, biases, norms and
excluded layers off it. `lpss.param_groups(net, p=...)` makes such groups.
"""

import math
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import sgd

from lpss import sphere
from lpss.optim import native, triton_step


class SphereOptimizer(Optimizer):
    """What LpSGD and LpSGD-m share: checks, projection at construction, SGD for groups with p=None.

    `lr` is a plain step size for p=None groups; on the sphere it is eta of eqs (13) and (22), in [0, 1].
    `weight_decay` acts on p=None groups only: on the sphere the norm is fixed.

    The maths is in `_tensor_step`; kernel.c and triton_step.py do the same in one pass on CPUs and GPUs. A learning
    rate may be a tensor on the weights' device: then a step reads nothing back and can be captured in a CUDA graph.
    """

    has_state: bool  # whether the weights on the sphere have state, v and mu

    def __init__(
        self,
        params: Iterable,
        lr: float,
        p: float | None,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        defaults = dict(lr=lr, p=p, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        self._forget()
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        self._forget()

    def _forget(self) -> None:
        self._skipped: dict[torch.device, Tensor] = {}  # counts of neurons with non-finite gradients
        self._reads = True  # whether a step may look at values
        self._memory: dict[tuple, Tensor] = {}  # working memory, four times the largest weight

    def add_param_group(self, param_group: dict) -> None:
        """Check the group's options and put its weights on their sphere. Raises ValueError, naming the value."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _check_group(group)
        except ValueError:
            self.param_groups.pop()
            raise
        if group["p"] is not None:
            with torch.no_grad():
                for param in group["params"]:
                    param.copy_(sphere.normalize(_compute(param), group["p"]))

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

    @property
    def nonfinite_neurons(self) -> int:
        """How many neuron updates were skipped so far because the gradient held NaN or inf (reads the device)."""
        return sum(int(count) for count in self._skipped.values())

    @torch.no_grad()
    def step(self, closure=None):
        """One step; `closure`, where given, recomputes the loss, which is returned.

        Neurons whose gradient is exactly zero keep their weights. Neurons whose gradient holds NaN or inf keep their
        weights and state too; they are counted in `nonfinite_neurons` and, on the CPU, reported by a RuntimeWarning.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # A learning rate in a tensor means that the step may be captured: then nothing is read, on the CPU either.
        self._reads = not any(isinstance(group["lr"], Tensor) for group in self.param_groups)
        before = self._skipped_on_cpu()
        for group in self.param_groups:
            if group["p"] is None:
                self._sgd_step(group)
                continue
            _check_eta(group)
            self._sphere_steps([param for param in group["params"] if param.grad is not None], group)
        skipped = self._skipped_on_cpu() - before
        if skipped:
            warnings.warn(
                f"{skipped} neurons have a gradient with NaN or inf: their weights were kept",
                RuntimeWarning,
                stacklevel=2,
            )
        return loss

    def latent(self, param: Tensor) -> Tensor:
        """The tensor the update moves: v for LpSGD-m on the sphere, else the weight itself. Edit, then `retract`."""
        return param.detach()

    def to_latent(self, param: Tensor, weight: Tensor) -> Tensor:
        """Weight values as values of `latent(param)`."""
        return weight

    @torch.no_grad()
    def retract(self, param: Tensor) -> None:
        """Put a weight back on its sphere after its latent tensor was edited; does nothing where p is None."""
        p = self.p_of(param)
        if p is not None:
            param.copy_(sphere.normalize(_compute(param), p))

    def p_of(self, param: Tensor) -> float | None:
        """The p of the group that holds this parameter. Raises KeyError for a stranger."""
        for group in self.param_groups:
            if any(param is member for member in group["params"]):
                return group["p"]
        raise KeyError(f"the optimizer does not hold this parameter of shape {tuple(param.shape)}")

    def _sphere_steps(self, params: list[Tensor], group: dict) -> None:
        """Move weights on their sphere: all that the C kernel can move in one call, the others one at a time."""
        eta, together = group["lr"], []
        options = {"gamma": group["momentum"], "nesterov": group["nesterov"]} if self.has_state else {}
        for param in params:
            if param.grad.is_sparse:
                raise ValueError("sparse gradients are not supported; use a dense layer")
            tensors = self._tensors(param, group)
            if param.is_cuda and triton_step.usable(*(rows := _memory_rows(tensors)), eta=eta):
                triton_step.step(rows, self._counter(param.device), eta=eta, p=group["p"], **options)
            elif isinstance(eta, (int, float)) and native.usable(*tensors):
                together.append(tensors)
            else:
                self._tensor_step(*tensors, group)
        if together:
            self._count(native.step(together, eta=eta, p=group["p"], **options))

    def _tensors(self, param: Tensor, group: dict) -> tuple[Tensor, ...]:
        """What a step reads and writes: the weight, state if any, the gradient."""
        raise NotImplementedError

    def _tensor_step(self, *args) -> None:
        """One weight's step in torch operations, on any device; takes `_tensors` and the group."""
        raise NotImplementedError

    def _sgd_step(self, group: dict) -> None:
        params = [param for param in group["params"] if param.grad is not None]
        buffers: list[Tensor | None] = [None] * len(params)
        if group["momentum"]:
            buffers = [self._buffer(param, "momentum_buffer") for param in params]
        sgd(
            params,
            [param.grad for param in params],
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
            fused=(one_kernel := fused(params)),
            foreach=not one_kernel,
        )

    def _buffer(self, param: Tensor, key: str) -> Tensor:
        state = self.state[param]
        if key not in state:
            state[key] = torch.zeros_like(param, dtype=_compute_dtype(param))
        return state[key]

    def _kept(self, largest: Tensor) -> Tensor:
        """(neurons, 1): whose direction is zero or not finite; the latter are counted."""
        finite = torch.isfinite(largest)
        self._count((~finite).sum())
        return ~finite | (largest == 0)

    def _count(self, skipped: Tensor | int) -> None:
        """Add neurons whose update was skipped; a tensor stays on its device, so that nothing waits for it."""
        if isinstance(skipped, int):
            if not skipped:
                return
            skipped = torch.tensor(skipped)
        self._counter(skipped.device).add_(skipped)  # in place: a captured step counts, too

    def _counter(self, device: torch.device) -> Tensor:
        if device not in self._skipped:
            self._skipped[device] = torch.zeros(1, dtype=torch.int64, device=device)
        return self._skipped[device]

    def _buffers(self, flat: Tensor, count: int) -> list[Tensor]:
        """Buffers like `flat`, cut from one piece of memory that all weights share."""
        key, need = (flat.device, flat.dtype), 4 * flat.numel()
        if key not in self._memory or self._memory[key].numel() < need:
            self._memory[key] = flat.new_empty(need)
        size = flat.numel()
        return [self._memory[key][i * size : (i + 1) * size].view(flat.shape) for i in range(count)]

    def _skipped_on_cpu(self) -> int:
        # Reading a device counter would stall it; there the caller asks `nonfinite_neurons` when it wants to know.
        count = self._skipped.get(torch.device("cpu")) if self._reads else None
        return 0 if count is None else int(count)

    def _commit(self, target: Tensor, new: Tensor, kept: Tensor) -> None:
        """Overwrite the target with new (neurons, fan-in), but for the neurons that are kept (neurons, 1)."""
        if not (kept.is_cpu and self._reads) or bool(
            kept.any()
        ):  # on the CPU a look costs nothing, and `where` is slow
            new = torch.where(kept, sphere.rows(target), new)
        target.copy_(new.view_as(target))


class LpSGD(SphereOptimizer):
    """L_p-spherical gradient descent, eqs (9)-(14); the norm in (13) is the p-norm (the paper misprints it).

    Args:
        params: tensors, named tensors or groups, as for any torch optimizer. On the sphere: 2 or more dims.
        lr: eta in [0, 1] on the sphere, step size elsewhere; a group may set its own.
        p: 1 < p < inf, or None for plain SGD; a group may set its own.
        momentum, nesterov, weight_decay: for groups with p=None only; LpSGD itself has no momentum.

    Raises ValueError for a wrong p, lr, momentum, weight decay or shape.
    """

    has_state = False

    def _tensors(self, param: Tensor, group: dict) -> tuple[Tensor, ...]:
        return param, param.grad

    def _tensor_step(self, param: Tensor, grad: Tensor, group: dict) -> None:
        p, q, eta = group["p"], sphere.dual_exponent(group["p"]), group["lr"]
        weight = sphere.rows(_compute(param))
        a, b, c = self._buffers(weight, 3)
        largest, total = sphere.scaled_power(_compute(grad), q, a, b, c)  # b (total^(1/q - 1)) is Delta, eq (10)
        kept = self._kept(largest)
        torch.mul(weight, 1.0 - eta, out=c).addcmul_(b, -eta * total.pow(1.0 / q - 1.0))
        length, total = sphere.scaled_power(c, p, c, a, b)
        self._commit(param, c.mul_(total.pow(-1.0 / p)), kept | (length == 0))


class LpSGDm(SphereOptimizer):
    """LpSGD with momentum, eqs (21)-(26): v moves on the unit L_q sphere and w = v^[q-1].

    Args:
        params, lr, p, weight_decay: as for LpSGD.
        momentum: gamma of eqs (21) and (25), in [0, 1); no dampening.
        nesterov: move along grad + gamma mu instead of mu.

    State per weight on the sphere: `v` and `mu`, float32 (float64 for float64 weights). v is read off the weights
    at the first step, so weights may be loaded up to then; afterwards call `reset_latent(param)`.
    """

    has_state = True

    def _tensors(self, param: Tensor, group: dict) -> tuple[Tensor, ...]:
        return param, self._v(param, group["p"]), self._buffer(param, "mu"), param.grad

    def _tensor_step(self, param: Tensor, v: Tensor, mu: Tensor, grad: Tensor, group: dict) -> None:
        q, eta, gamma = sphere.dual_exponent(group["p"]), group["lr"], group["momentum"]
        grad = sphere.rows(_compute(grad))
        a, b, c, d = self._buffers(grad, 4)
        mu_next = torch.add(grad, sphere.rows(mu), alpha=gamma, out=a)
        direction = torch.add(grad, mu_next, alpha=gamma, out=b) if group["nesterov"] else mu_next
        largest, total = sphere.scaled_power(direction, q, b, c, d)  # b total^(-1/q) is mu / ||mu||_q
        kept = self._kept(largest)
        torch.mul(sphere.rows(v), 1.0 - eta, out=c).addcmul_(b, -eta * total.pow(-1.0 / q))
        length, total = sphere.scaled_power(c, q, c, b, d)
        still = kept | (length == 0)
        self._commit(mu, mu_next, ~torch.isfinite(largest))
        self._commit(v, c.mul_(total.pow(-1.0 / q)), still)
        self._commit(param, b.mul_(total.pow(1.0 / q - 1.0)), still)

    def latent(self, param: Tensor) -> Tensor:
        p = self.p_of(param)
        return param.detach() if p is None else self._v(param, p)

    def _v(self, param: Tensor, p: float) -> Tensor:
        state = self.state[param]
        if "v" not in state:
            state["v"] = _v_of(_compute(param), p)
        return state["v"]

    def to_latent(self, param: Tensor, weight: Tensor) -> Tensor:
        p = self.p_of(param)
        return weight if p is None else sphere.signed_power(weight, p - 1.0)

    @torch.no_grad()
    def reset_latent(self, param: Tensor) -> None:
        """Read v off the weights again, v = w^[p-1]: call it when the weights were changed from outside."""
        p = self.p_of(param)
        if p is not None:
            self._v(param, p).copy_(_v_of(_compute(param), p))

    @torch.no_grad()
    def retract(self, param: Tensor) -> None:
        p = self.p_of(param)
        if p is not None:
            v = self.latent(param)
            unit, weight = sphere.dual_pair(v, p)
            v.copy_(unit)
            param.copy_(weight)


def _memory_rows(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """(neurons, fan-in) views in the order of memory, which does not matter to sums; as they are where orders differ.

    Strides alone do not tell: those of sides of length 1 (a 1x1 conv's) may be anything.
    """
    if all(x.is_contiguous() for x in tensors):
        return tuple(x.flatten(1) for x in tensors)
    if all(x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) for x in tensors):
        return tuple(x.permute(0, 2, 3, 1).flatten(1) for x in tensors)
    return tensors


def fused(params: list[Tensor]) -> bool:
    """Whether torch's one-kernel SGD takes them; on CUDA it also takes a learning rate that lives on the device."""
    return bool(params) and all((x.is_cpu or x.is_cuda) and x.dtype in (torch.float32, torch.float64) for x in params)


def _v_of(weight: Tensor, p: float) -> Tensor:
    """v = w^[p-1] on the unit L_q sphere, for weights of any norm."""
    v = sphere.signed_power(sphere.normalize(weight, p), p - 1.0)
    return sphere.normalize(v, sphere.dual_exponent(p))


def _compute_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _compute(tensor: Tensor) -> Tensor:
    return tensor.detach().to(_compute_dtype(tensor))


def _check_group(group: dict) -> None:
    lr, p, momentum, decay = group["lr"], group["p"], group["momentum"], group["weight_decay"]
    if not _is_number(lr) or not 0.0 <= float(lr) < math.inf:
        raise ValueError(f"lr must be a finite number of at least 0, got {lr!r}")
    if not _is_number(momentum) or not 0.0 <= float(momentum) < 1.0:
        raise ValueError(f"momentum must be in [0, 1), got {momentum!r}")
    if not _is_number(decay) or not 0.0 <= float(decay) < math.inf:
        raise ValueError(f"weight_decay must be a finite number of at least 0, got {decay!r}")
    if p is None:
        if group["nesterov"] and momentum == 0:
            raise ValueError("nesterov needs a momentum greater than 0, got momentum=0")
    else:
        group["p"] = sphere.check_p(p)
        _check_eta(group | {"lr": float(lr)})
        for param in group["params"]:
            if param.dim() < 2:
                raise ValueError(
                    f"a tensor of shape {tuple(param.shape)} is in a group with p={p}: a weight on the sphere needs 2 "
                    "or more dims. Put it in a group with p=None, or use lpss.param_groups(net, p=...)"
                )


def _check_eta(group: dict) -> None:
    # A tensor lr is left alone: reading it here would wait for the device in every step.
    lr = group["lr"]
    if not isinstance(lr, Tensor) and not 0.0 <= lr <= 1.0:
        raise ValueError(f"lr of a group on the sphere (p={group['p']}) is eta of eq (13), in [0, 1]; got {lr}")


def _is_number(value) -> bool:
    return isinstance(value, (int, float, Tensor)) and not isinstance(value, bool)
