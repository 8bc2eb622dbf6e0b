import pytest
import torch
from torch import nn

from lpss import LpSGDm, param_groups
from lpss.errors import UsageError
from lpss.models import MLP, WRN
from lpss.optim.groups import layer_p


def mlp():
    return MLP(MLP.Config(hidden=[4, 5]), (3,), 2)


def names_of(net, group):
    return [name for name, param in net.named_parameters() if any(param is member for member in group["params"])]


# --- layer_p ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p, options, expected",
    [
        (1.2, {}, [1.2, 1.2, None]),
        (1.2, {"exclude": []}, [1.2, 1.2, 1.2]),
        (1.2, {"exclude": ["stem", "layers.1"]}, [None, None, 1.2]),
        (None, {"exclude": []}, [None, None, None]),
        ({0.5: 1.3, 0.9: 1.1}, {"sparsity": 0.7}, [1.2, 1.2, None]),
        ({"stem": None, "layers.1": 1.4}, {}, [None, 1.4, None]),
        ({"stem": {0.5: 1.5, 0.9: 1.1}, "default": 2}, {"sparsity": 0.9, "exclude": []}, [1.1, 2, 2]),
    ],
)
def test_layer_p(p, options, expected):
    got = layer_p(mlp(), p, **options)
    assert list(got) == ["layers.0", "layers.1", "layers.2"]
    assert list(got.values()) == pytest.approx(expected, abs=1e-12)


def test_errors_name_the_key():
    with pytest.raises(UsageError, match="sphere.exclude: 'layer.1'"):
        layer_p(mlp(), 1.2, exclude=["layer.1"])
    with pytest.raises(UsageError, match="optimizer.p has no entry for layer 'layers.1'"):
        param_groups(mlp(), {"stem": 1.2})


# --- param_groups -----------------------------------------------------------------------------------------------


def test_one_group_for_each_p_then_free_weights_then_biases():
    net = mlp()
    groups = param_groups(net, {"stem": 1.4, "default": 1.2}, lr_free=0.3, weight_decay=1e-4)
    assert [group["p"] for group in groups] == [1.2, 1.4, None, None]
    assert [names_of(net, group) for group in groups] == [
        ["layers.1.weight"],
        ["layers.0.weight"],
        ["layers.2.weight"],
        ["layers.0.bias", "layers.1.bias", "layers.2.bias"],
    ]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0, 1e-4, 0.0]
    assert ["lr" in group for group in groups] == [False, False, True, True] and groups[2]["lr"] == 0.3


def test_layers_of_one_p_share_a_group_and_lr_free_is_optional():
    groups = param_groups(mlp(), 1.2)
    assert [len(group["params"]) for group in groups] == [2, 1, 3]
    assert all("lr" not in group for group in groups)


def test_p_none_is_plain_sgd_with_decay_on_weights_only():
    net = WRN(WRN.Config(depth=12, width=1), (1, 28, 28), 10)
    groups = param_groups(net, None, weight_decay=0.1)
    assert [(group["p"], group["weight_decay"]) for group in groups] == [(None, 0.1), (None, 0.0)]
    assert {param.dim() for param in groups[0]["params"]} == {2, 4}
    assert {param.dim() for param in groups[1]["params"]} == {1}
    torch.optim.SGD(groups, lr=0.1)


@pytest.mark.parametrize("exclude", [["head"], [], ["head", "shortcut", "stem"], ["stages.0.*", "linear"]])
def test_every_trainable_parameter_is_in_exactly_one_group(exclude):
    net = WRN(WRN.Config(depth=12, width=2), (3, 32, 32), 10)
    net.head.weight.requires_grad_(False)
    groups = param_groups(net, 1.2, exclude=exclude)
    placed = [id(param) for group in groups for param in group["params"]]
    assert sorted(placed) == sorted(id(param) for param in net.parameters() if param.requires_grad)
    assert len(placed) == len(list(net.parameters())) - 1
    LpSGDm(groups, lr=0.02, p=None)


def test_a_tied_weight_is_placed_once_and_on_the_sphere_if_asked_for():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight = net[0].weight
    groups = param_groups(net, 1.2)
    assert [(group["p"], len(group["params"])) for group in groups] == [(None, 2), (None, 3)]
    groups = param_groups(net, 1.2, include=["1"])
    assert [(group["p"], len(group["params"])) for group in groups] == [(1.2, 1), (None, 1), (None, 3)]


def test_bias_free_nets_have_no_empty_group():
    groups = param_groups(nn.Sequential(nn.Linear(4, 4, bias=False)), 1.2, exclude=[])
    assert [len(group["params"]) for group in groups] == [1]


def test_a_role_or_name_in_p_that_fits_nothing_is_refused():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    assert layer_p(net, {"stem": {0.5: 1.3, 0.9: {"0": 1.1}}, "default": 1.2}, sparsity=0.9)["0"] == 1.1
    for rule in ({"stemm": 1.3, "default": 1.2}, {0.5: {"layers.9": 1.3, "default": 1.1}}):
        with pytest.raises(UsageError, match="optimizer.p: '(stemm|layers.9)' is no role"):
            layer_p(net, rule)
