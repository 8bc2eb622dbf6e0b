"""Multi-layer perceptrons: the paper's UCI models have bias, ReLU and no normalisation."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lpss.errors import UsageError
from lpss.models.base import WIDEST, norm_relu
from lpss.registries import MODELS


@MODELS.register("mlp")
class MLP(nn.Module):
    """Multi-layer perceptron: inputs -> hidden... -> classes, with ReLU between.

    init: `he` (normal, variance 2 / fan-in, for ReLU; zero biases), or `torch` (nn.Linear's own: uniform, variance
    1 / (3 fan-in), with which activations shrink by .41 a layer).
    norm: `none` (the paper's), or `batch`: BatchNorm before each ReLU, and no bias there.
    Takes (batch, features), or images, which it flattens; returns logits (batch, classes).
    """

    label = "MLP"
    reference = (
        "Li et al. 2021, Training Sparse Neural Network by Constraining Synaptic Weight on "
        "Unit Lp Sphere, https://arxiv.org/abs/2103.16013 (Table 4)"
    )
    order = 1

    @dataclass
    class Config:
        hidden: list[int] = field(default_factory=lambda: [256, 128])
        norm: str = "none"
        init: str = "he"

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int):
        super().__init__()
        if not config.hidden or not 1 <= min(config.hidden) <= max(config.hidden) <= WIDEST:
            limits = f"the widths of the hidden layers, 1 to {WIDEST}"
            raise UsageError(f"model.hidden must list {limits}, got {config.hidden}")
        if config.norm not in ("none", "batch"):
            raise UsageError(f"model.norm must be none or batch, got {config.norm!r}")
        features = int(torch.tensor(input_shape).prod())
        widths = [features, *config.hidden, classes]
        if config.init not in ("he", "torch"):
            raise UsageError(f"model.init must be he or torch, got {config.init!r}")
        plain = config.norm == "none"
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=plain or i == len(config.hidden))
            for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True))
        )
        self.norms = nn.ModuleList(nn.Identity() if plain else nn.BatchNorm1d(width) for width in config.hidden)
        for layer in self.layers if config.init == "he" else ():
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            x = norm_relu(norm, layer(x))
        return self.layers[-1](x)
