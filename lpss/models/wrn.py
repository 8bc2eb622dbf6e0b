"""The paper's modified wide residual networks, WRN-depth-width, with the parameter counts of its Table 4."""

from dataclasses import dataclass

from torch import Tensor, nn

from lpss.errors import UsageError
from lpss.models.base import WIDEST, need_image, norm_relu
from lpss.options import check_range
from lpss.registries import MODELS

DEEPEST = 1000  # blocks in a stage
# Blocks in each stage; the paper's nets are uneven, and only these give its parameter counts.
_PAPER_BLOCKS = {12: [1, 2, 2], 18: [2, 3, 3], 22: [3, 4, 3]}


class Block(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the input (through a 1x1 conv + BN where shape changes), ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            conv.role = "shortcut"
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu(self.bn1, self.conv1(x))
        return norm_relu(self.bn2, self.conv2(y), self.shortcut(x))


@MODELS.register("wrn")
class WRN(nn.Module):
    """Wide residual network WRN-depth-width: 3x3 stem of 16 filters, stages of 16k, 32k, 64k, pooling, linear.

    Takes (batch, channels, height, width); returns logits (batch, classes).
    depth = 2 + 2 x (number of blocks); `blocks` sets them for each stage. Stages 2 and 3 start with stride 2.
    He-normal weights (fan-out).
    """

    label = "WRN"
    reference = (
        "Zagoruyko and Komodakis 2016, Wide Residual Networks, https://arxiv.org/abs/1605.07146; "
        "modified as in Table 4 of Li et al. 2021"
    )
    order = 4

    @dataclass
    class Config:
        depth: int = 22
        width: int = 2
        blocks: list[int] | None = None

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int):
        super().__init__()
        channels = need_image(input_shape, "wrn")
        if config.width < 1:
            raise UsageError(f"model.width must be at least 1, got {config.width}")
        check_range(config.width, "model.width", 1, WIDEST // 64)
        stages = []
        inputs = 16
        for index, count in enumerate(_blocks(config)):
            outputs = 16 * config.width * 2**index
            for position in range(count):
                stages.append(Block(inputs, outputs, stride=2 if index > 0 and position == 0 else 1))
                inputs = outputs
        self.stem = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


def _blocks(config: WRN.Config) -> list[int]:
    if config.blocks is not None:
        if len(config.blocks) != 3 or not 1 <= min(config.blocks) <= max(config.blocks) <= DEEPEST:
            raise UsageError(f"model.blocks must be three numbers from 1 to {DEEPEST}, got {config.blocks}")
        return config.blocks
    if config.depth in _PAPER_BLOCKS:
        return _PAPER_BLOCKS[config.depth]
    total, odd = divmod(config.depth - 2, 2)
    if odd or not 3 <= total <= 3 * DEEPEST:
        form = f"2 + 2 x blocks, three stages of at most {DEEPEST}"
        raise UsageError(f"model.depth must be even and at least 8 ({form}), got {config.depth}")
    return [total // 3 + (stage >= 3 - total % 3) for stage in range(3)]
