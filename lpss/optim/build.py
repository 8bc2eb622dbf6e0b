"""The optimizers, by name, and how an `optimizer` config becomes one for a net."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from lpss.errors import UsageError
from lpss.optim.groups import param_groups
from lpss.optim.lpsgd import LpSGD, LpSGDm, fused
from lpss.options import check_range, make_options
from lpss.registry import Registry

OPTIMIZERS = Registry("optimizer")

# p=auto, by requested sparsity (linear between, constant outside): the most accurate of those tried on validation parts
# (letter, dna, climate, web) at equal sparsity, which LpSS's exact_finish sees to. Smaller p comes closer by itself.
AUTO_P = {0.5: 2.0, 0.8: 1.75, 0.9: 1.5}


@OPTIMIZERS.register("sgd")
@dataclass
class SGDConfig:
    """torch.optim.SGD; no weight is on a sphere."""

    name: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4

    def build(self, net: nn.Module, exclude: Sequence[str], sparsity: float) -> torch.optim.Optimizer:
        check_range(self.momentum, "optimizer.momentum", 0, 1, open_high=True)
        for key in ("lr", "weight_decay"):
            check_range(getattr(self, key), f"optimizer.{key}", 0, float("inf"), open_high=True)
        groups = param_groups(net, None, weight_decay=self.weight_decay)
        one_kernel = fused(list(net.parameters()))
        return torch.optim.SGD(
            groups,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            fused=one_kernel,
            foreach=not one_kernel,
        )


@dataclass
class SphereConfig:
    """lr is eta of the weights on the sphere, lr_free the learning rate of everything off it; p is a rule."""

    name: str = ""
    lr: float = 0.02
    lr_free: float = 0.1
    p: Any = "auto"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    optimizer: ClassVar[type]

    def __post_init__(self):
        if self.p == "auto":
            self.p = dict(AUTO_P)

    def build(self, net: nn.Module, exclude: Sequence[str], sparsity: float) -> torch.optim.Optimizer:
        check_range(self.lr_free, "optimizer.lr_free", 0, float("inf"), open_high=True)
        check_range(self.weight_decay, "optimizer.weight_decay", 0, float("inf"), open_high=True)
        groups = param_groups(
            net, self.p, exclude=exclude, lr_free=self.lr_free, weight_decay=self.weight_decay, sparsity=sparsity
        )
        return self.optimizer(
            groups, lr=self.lr, p=None, momentum=self.momentum, nesterov=self.nesterov and self.momentum > 0
        )


@OPTIMIZERS.register("lpsgd")
@dataclass
class LpSGDConfig(SphereConfig):
    name: str = "lpsgd"
    optimizer: ClassVar[type] = LpSGD


@OPTIMIZERS.register("lpsgd_m")
@dataclass
class LpSGDmConfig(SphereConfig):
    name: str = "lpsgd_m"
    optimizer: ClassVar[type] = LpSGDm


def build_optimizer(
    net: nn.Module, values: Mapping, *, exclude: Sequence[str], sparsity: float
) -> torch.optim.Optimizer:
    """The optimizer that an `optimizer` config describes, over all of the net's parameters.

    Raises UsageError for unknown names, options, or values out of range.
    """
    config = make_options(OPTIMIZERS.find(values["name"]), values, "optimizer")
    try:
        return config.build(net, exclude, sparsity)
    except ValueError as error:
        raise UsageError(f"optimizer={config.name}: {error}") from None
