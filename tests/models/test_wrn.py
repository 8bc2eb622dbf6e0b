import pytest
import torch
from torch import nn

from lpss.errors import UsageError
from lpss.models import WRN
from lpss.models.wrn import Block


def parameters(net):
    return sum(param.numel() for param in net.parameters())


@pytest.mark.parametrize(
    "depth, width, channels, classes, expected",
    [
        (12, 1, 1, 10, 170_298),  # mnist
        (18, 1, 1, 10, 267_514),  # fashion_mnist
        (22, 2, 3, 10, 1_154_074),  # cifar10
        (22, 4, 3, 10, 4_595_290),
        (22, 6, 3, 10, 10_324_122),
        (22, 8, 3, 10, 18_340_570),
        (22, 4, 3, 200, 4_644_120),  # tiny_imagenet
    ],
)
def test_the_papers_parameter_counts(depth, width, channels, classes, expected):
    with torch.device("meta"):  # counts need no numbers
        net = WRN(WRN.Config(depth=depth, width=width), (channels, 32, 32), classes)
    assert parameters(net) == expected


def test_weights_of_wrn_22_2():
    net = WRN(WRN.Config(), (3, 32, 32), 10)
    layers = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert sum(layer.weight.numel() for layer in layers) == 1_150_640
    assert all(layer.bias is None for layer in layers[:-1]) and layers[-1].bias is not None


@pytest.mark.parametrize(
    "depth, blocks",
    [
        (8, [1, 1, 1]),
        (10, [1, 1, 2]),
        (12, [1, 2, 2]),
        (16, [2, 2, 3]),
        (18, [2, 3, 3]),
        (20, [3, 3, 3]),
        (22, [3, 4, 3]),
        (28, [4, 4, 5]),
    ],
)
def test_blocks_of_each_stage(depth, blocks):
    with torch.device("meta"):
        net = WRN(WRN.Config(depth=depth, width=1), (3, 32, 32), 10)
    widths = [block.conv1.out_channels for block in net.stages]
    assert [widths.count(width) for width in (16, 32, 64)] == blocks and widths == sorted(widths)


def test_blocks_may_be_given():
    with torch.device("meta"):
        net = WRN(WRN.Config(depth=22, width=3, blocks=[1, 2, 1]), (3, 32, 32), 10)
    assert [block.conv1.out_channels for block in net.stages] == [48, 96, 96, 192]


def test_strides_and_shortcuts():
    net = WRN(WRN.Config(depth=12, width=1), (1, 28, 28), 10)
    assert [block.conv1.stride[0] for block in net.stages] == [1, 2, 1, 2, 1]
    assert [isinstance(block.shortcut, nn.Identity) for block in net.stages] == [True, False, True, False, True]
    sides = []
    for block in net.stages:
        block.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10) and sides == [28, 14, 14, 7, 7]


@pytest.mark.parametrize("shape, classes", [((3, 64, 64), 200), ((1, 28, 28), 10), ((3, 17, 9), 4)])
def test_output(shape, classes):
    net = WRN(WRN.Config(depth=8, width=1), shape, classes).eval()
    assert net(torch.randn(2, *shape)).shape == (2, classes)


def test_a_block_is_conv_bn_relu_conv_bn_add_relu():
    torch.manual_seed(0)
    block = Block(4, 8, stride=2).eval()
    for norm in (block.bn1, block.bn2, block.shortcut[1]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
    x = torch.randn(2, 4, 6, 6)
    inner = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    beside = block.shortcut[1](block.shortcut[0](x))
    assert block.shortcut[0].kernel_size == (1, 1) and block.shortcut[0].stride == (2, 2)
    torch.testing.assert_close(block(x), torch.relu(inner + beside))
    plain = Block(8, 8, stride=1).eval()
    y = torch.randn(1, 8, 3, 3)
    torch.testing.assert_close(plain(y), torch.relu(plain.bn2(plain.conv2(torch.relu(plain.bn1(plain.conv1(y))))) + y))


def test_init_is_he_normal_by_fan_out():
    torch.manual_seed(0)
    net = WRN(WRN.Config(depth=8, width=4), (3, 32, 32), 10)
    for conv in (net.stages[1].conv1, net.stages[2].conv1, net.stages[2].shortcut[0]):
        fan_out = conv.out_channels * conv.kernel_size[0] ** 2
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
    assert not net.head.bias.any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": 13}, "model.depth must be even and at least 8 .* got 13"),
        ({"depth": 6}, "got 6"),
        ({"width": 0}, "model.width must be at least 1, got 0"),
        ({"blocks": [1, 2]}, r"model.blocks must be three numbers .* got \[1, 2\]"),
        ({"blocks": [1, 0, 2]}, "model.blocks"),
    ],
)
def test_wrong_sizes(options, message):
    with pytest.raises(UsageError, match=message):
        WRN(WRN.Config(**options), (3, 32, 32), 10)


@pytest.mark.parametrize("shape", [(105,), (28, 28)])
def test_only_images(shape):
    with pytest.raises(UsageError, match="model=wrn takes images"):
        WRN(WRN.Config(), shape, 10)
