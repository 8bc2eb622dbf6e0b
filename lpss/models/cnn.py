"""The small CNNs of the paper's Table 2 (Figs 3-7)."""

from dataclasses import dataclass

from torch import Tensor, nn

from lpss.models.base import need_image
from lpss.registries import MODELS


@MODELS.register("cnn_mnist")
class CNNMnist(nn.Module):
    """28x28 images -> logits: 3x3 convs of 8, 12 and 16 filters without padding, three linear layers."""

    label = "CNN (MNIST)"
    reference = (
        "Li et al. 2021, Training Sparse Neural Network by Constraining Synaptic Weight on "
        "Unit Lp Sphere, https://arxiv.org/abs/2103.16013 (Table 2)"
    )
    order = 2

    @dataclass
    class Config:
        """No options."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int):
        super().__init__()
        channels = need_image(input_shape, "cnn_mnist", 28)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.classifier = _classifier(16 * 5 * 5, 256, classes)
        _init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


@MODELS.register("cnn_fashion_mnist")
class CNNFashionMnist(nn.Module):
    """28x28 images -> logits: convs of 16 (5x5, stride 2), 32, 64 filters with BatchNorm, no conv bias."""

    label = "CNN (Fashion-MNIST)"
    reference = (
        "Li et al. 2021, Training Sparse Neural Network by Constraining Synaptic Weight on "
        "Unit Lp Sphere, https://arxiv.org/abs/2103.16013 (Table 2)"
    )
    order = 3

    @dataclass
    class Config:
        """No options."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int):
        super().__init__()
        channels = need_image(input_shape, "cnn_fashion_mnist", 28)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.classifier = _classifier(64 * 7 * 7, 512, classes)
        _init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def _classifier(features: int, width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, classes))


def _init(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
