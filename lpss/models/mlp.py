"""Multi-layer perceptrons: the paper's UCI models have bias, ReLU and no normalisation."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lpss.errors import UsageError
from lpss.models.base import MODELS


@MODELS.register("mlp")
class MLP(nn.Module):
    """inputs -> hidden... -> classes, with ReLU between; He-normal weights (fan-in), zero biases.

    Takes (batch, features), or images, which it flattens; returns logits (batch, classes).
    """

    @dataclass
    class Config:
        name: str = "mlp"
        hidden: list[int] = field(default_factory=lambda: [256, 128])

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int):
        super().__init__()
        if not config.hidden or min(config.hidden) < 1:
            raise UsageError(f"model.hidden must list the widths of the hidden layers, got {config.hidden}")
        features = int(torch.tensor(input_shape).prod())
        widths = [features, *config.hidden, classes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)
