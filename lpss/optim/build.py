"""The optimizers, by name, and how an `optimizer` config becomes one for a net."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lpss.optim.groups import param_groups
from lpss.optim.lpsgd import LpSGD, LpSGDm
from lpss.options import make_options
from lpss.registry import Registry

OPTIMIZERS = Registry("optimizer")


@OPTIMIZERS.register("sgd")
class BuildSGD:
    """torch.optim.SGD; no weight is on a sphere."""

    @dataclass
    class Config:
        name: str = "sgd"
        lr: float = 0.05
        momentum: float = 0.9
        nesterov: bool = True
        weight_decay: float = 1e-4

    def __new__(cls, net: nn.Module, config: Config, exclude: Sequence[str], sparsity: float) -> torch.optim.Optimizer:
        groups = param_groups(net, None, weight_decay=config.weight_decay)
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum,
                               nesterov=config.nesterov and config.momentum > 0, foreach=True)


class _BuildSphere:
    """lr is eta of the weights on the sphere, lr_free the learning rate of everything off it."""

    optimizer: type

    @dataclass
    class Config:
        name: str = ""
        lr: float = 0.02
        lr_free: float = 0.05
        p: Any = 1.2
        momentum: float = 0.9
        nesterov: bool = False
        weight_decay: float = 0.0

    def __new__(cls, net: nn.Module, config: Config, exclude: Sequence[str], sparsity: float) -> torch.optim.Optimizer:
        groups = param_groups(net, config.p, exclude=exclude, lr_free=config.lr_free, weight_decay=config.weight_decay,
                              sparsity=sparsity)
        return cls.optimizer(groups, lr=config.lr, p=None, momentum=config.momentum, nesterov=config.nesterov)


@OPTIMIZERS.register("lpsgd")
class BuildLpSGD(_BuildSphere):
    optimizer = LpSGD

    @dataclass
    class Config(_BuildSphere.Config):
        name: str = "lpsgd"


@OPTIMIZERS.register("lpsgd_m")
class BuildLpSGDm(_BuildSphere):
    optimizer = LpSGDm

    @dataclass
    class Config(_BuildSphere.Config):
        name: str = "lpsgd_m"


def build_optimizer(net: nn.Module, values: Mapping, *, exclude: Sequence[str], sparsity: float) -> torch.optim.Optimizer:
    """The optimizer that an `optimizer` config describes, over all of the net's parameters.

    Raises UsageError for unknown names or options, ValueError for values out of range.
    """
    entry = OPTIMIZERS.find(values["name"])
    return entry(net, make_options(entry.Config, values, "optimizer"), exclude, sparsity)
