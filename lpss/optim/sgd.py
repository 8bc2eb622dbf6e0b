"""Plain SGD: the baseline's optimizer, and what the sphere optimizers do with weights that are on no sphere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lpss.optim.groups import param_groups
from lpss.options import check_range
from lpss.registries import OPTIMIZERS


@OPTIMIZERS.register("sgd")
class SGD:
    """Stochastic gradient descent with momentum (torch.optim.SGD); no weight is on a sphere.

    `build` makes torch's own optimizer. Weight decay acts on weights, not on biases and normalisation parameters.
    """

    label = "SGD"
    reference = (
        "Sutskever et al. 2013, On the importance of initialization and momentum in deep learning, "
        "https://proceedings.mlr.press/v28/sutskever13.html"
    )
    order = 1

    @dataclass
    class Config:
        lr: float = 0.1
        momentum: float = 0.9
        nesterov: bool = True
        weight_decay: float = 1e-4

    @classmethod
    def build(cls, net: nn.Module, config: Config, *, exclude: Sequence[str], sparsity: float) -> torch.optim.SGD:
        """See `OptimizerRecipe.build`; raises UsageError for values out of range."""
        check_range(config.momentum, "optimizer.momentum", 0, 1, open_high=True)
        for key in ("lr", "weight_decay"):
            check_range(getattr(config, key), f"optimizer.{key}", 0, float("inf"), open_high=True)
        groups = param_groups(net, None, weight_decay=config.weight_decay)
        fused = can_fuse(net.parameters())
        return torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov and config.momentum > 0,
            fused=fused,
            foreach=not fused,
        )


def can_fuse(params: Iterable[Tensor]) -> bool:
    """Whether torch's one-kernel SGD takes these; on CUDA it also takes a learning rate that lives on the device."""
    params = list(params)
    return bool(params) and all((x.is_cpu or x.is_cuda) and x.dtype in (torch.float32, torch.float64) for x in params)
