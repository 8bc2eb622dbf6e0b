import pytest
import torch
from torch import nn

from lpss.errors import UsageError
from lpss.models import CNNFashionMnist, CNNMnist

BOTH = pytest.mark.parametrize("model", [CNNMnist, CNNFashionMnist])


@pytest.mark.parametrize("model, expected", [(CNNMnist, 122_454), (CNNFashionMnist, 1_663_290)])
def test_the_papers_parameter_counts(model, expected):
    assert sum(param.numel() for param in model(model.Config(), (1, 28, 28), 10).parameters()) == expected


@pytest.mark.parametrize(
    "model, fan_ins", [(CNNMnist, [9, 72, 108, 400, 256, 64]), (CNNFashionMnist, [25, 144, 288, 3136, 512, 64])]
)
def test_fan_ins_of_figures_5_and_6(model, fan_ins):
    net = model(model.Config(), (1, 28, 28), 10)
    layers = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert [layer.weight[0].numel() for layer in layers] == fan_ins


def test_normalisation_and_biases():
    plain, normed = CNNMnist(CNNMnist.Config(), (1, 28, 28), 10), CNNFashionMnist(None, (1, 28, 28), 10)
    assert not [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len([module for module in normed.modules() if isinstance(module, nn.BatchNorm2d)]) == 3
    for net, has_bias in ((plain, True), (normed, False)):
        convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
        assert len(convs) == 3 and all((conv.bias is not None) == has_bias for conv in convs)


@BOTH
def test_output_and_channels(model):
    for channels in (1, 3):
        net = model(model.Config(), (channels, 28, 28), 7)
        logits = net(torch.randn(4, channels, 28, 28))
        assert logits.shape == (4, 7) and logits.std() > 0


@BOTH
@pytest.mark.parametrize("shape", [(1, 32, 32), (784,), (28, 28)])
def test_other_inputs_are_named(model, shape):
    with pytest.raises(UsageError) as error:
        model(model.Config(), shape, 10)
    assert f"model={model.name} takes 28x28 images" in str(error.value) and str(shape) in str(error.value)
