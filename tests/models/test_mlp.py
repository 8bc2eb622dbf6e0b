import pytest
import torch
from torch import nn

from lpss.errors import UsageError
from lpss.models import MLP, build_model


def parameters(net):
    return sum(param.numel() for param in net.parameters())


@pytest.mark.parametrize(
    "name, features, hidden, classes, expected",
    [
        ("adult", 105, [256, 512, 256, 128], 2, 323_202),
        ("connect4", 126, [512, 512, 256, 128], 3, 492_291),
        ("dna", 240, [1024, 512, 256, 128], 3, 936_195),
        ("mushroom", 126, [128, 256, 128, 64], 2, 90_562),
        ("letter", 16, [1024, 512, 256, 128, 64], 26, 716_378),
        ("climate", 18, [128, 256, 128, 64], 2, 76_738),
        ("web", 27, [256, 512, 128, 64], 3, 212_867),
    ],
)
def test_the_papers_parameter_counts(name, features, hidden, classes, expected):
    assert parameters(MLP(MLP.Config(hidden=hidden), (features,), classes)) == expected


def test_forward_by_hand():
    net = MLP(MLP.Config(hidden=[2]), (2,), 2)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        net.layers[1].weight.copy_(torch.tensor([[2.0, 3.0], [-1.0, -1.0]]))
        net.layers[1].bias.copy_(torch.tensor([0.5, 0.0]))
    # hidden: relu(1 - 3, 3 - 1) = (0, 2); no ReLU after the last layer
    assert net(torch.tensor([[1.0, 3.0]])).tolist() == [[6.5, -2.0]]


def test_layers_and_init():
    torch.manual_seed(0)
    net = MLP(MLP.Config(hidden=[400, 300]), (200,), 5)
    assert [(layer.in_features, layer.out_features) for layer in net.layers] == [(200, 400), (400, 300), (300, 5)]
    assert not [module for module in net.modules() if isinstance(module, nn.BatchNorm1d)]
    for layer in net.layers[:2]:
        assert layer.weight.std().item() == pytest.approx((2 / layer.in_features) ** 0.5, rel=0.02)
    assert not any(layer.bias.any() for layer in net.layers)


def test_images_are_flattened():
    net = MLP(MLP.Config(hidden=[4]), (1, 28, 28), 10)
    assert net.layers[0].in_features == 784 and net(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("hidden", [[], [0], [5, -1]])
def test_wrong_widths(hidden):
    with pytest.raises(UsageError, match="model.hidden must list the widths"):
        MLP(MLP.Config(hidden=hidden), (3,), 2)


def test_batch_norm_takes_the_place_of_hidden_biases():
    net = build_model({"name": "mlp", "hidden": [8, 3], "norm": "batch"}, {}, (5,), 3)
    kinds = {name for name, _ in net.named_parameters()}
    assert kinds == {
        *(f"layers.{i}.weight" for i in range(3)),
        "layers.2.bias",
        *(f"norms.{i}.{part}" for i in range(2) for part in ("weight", "bias")),
    }
    out = net(torch.randn(16, 5))
    assert out.shape == (16, 3) and net.norms[0].running_mean.abs().sum() > 0


def test_an_unknown_norm_is_refused():
    with pytest.raises(UsageError, match="model.norm must be none or batch, got 'layer'"):
        build_model({"name": "mlp", "hidden": [8], "norm": "layer"}, {}, (5,), 3)


def test_the_initialisations_have_their_variances():
    for init, variance in (("he", 2 / 500), ("torch", 1 / 1500)):
        torch.manual_seed(0)
        weight = build_model({"name": "mlp", "hidden": [400], "init": init}, {}, (500,), 3).layers[0].weight
        assert weight.var().item() == pytest.approx(variance, rel=0.02)
    with pytest.raises(UsageError, match="model.init must be he or torch, got 'zero'"):
        build_model({"name": "mlp", "hidden": [8], "init": "zero"}, {}, (5,), 3)
