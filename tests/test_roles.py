import pytest
import torch
from torch import nn

from lpss.errors import UsageError
from lpss.layers import Layer, weight_layers
from lpss.models import MLP, WRN, CNNFashionMnist, CNNMnist
from lpss.roles import check_selectors, resolve_rule


def roles(net):
    return {layer.name: layer.role for layer in weight_layers(net)}


def layer(name="layers.1", role="linear"):
    return Layer(name, role, nn.Linear(2, 2))


# --- roles ------------------------------------------------------------------------------------------------------


def test_the_first_attention_layer_of_a_transformer_is_attention_like_the_others():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(
        nn.Embedding(5, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 5)
    )
    found = roles(net)
    assert [found[f"1.layers.{i}.self_attn.in_proj_weight"] for i in (0, 1)] == ["attention", "attention"]


def test_mlp():
    net = MLP(MLP.Config(hidden=[4, 5]), (3,), 2)
    assert roles(net) == {"layers.0": "stem", "layers.1": "linear", "layers.2": "head"}
    assert weight_layers(net)[1].weight is net.layers[1].weight


def test_wrn():
    found = roles(WRN(WRN.Config(depth=12, width=2), (3, 32, 32), 10))
    names = list(found)
    assert (names[0], names[-1]) == ("stem.0", "head")
    assert (found["stem.0"], found["head"]) == ("stem", "head")
    # width 2: every stage changes the number of channels, so each has one shortcut
    assert [name for name, role in found.items() if role == "shortcut"] == [
        "stages.0.shortcut.0",
        "stages.1.shortcut.0",
        "stages.3.shortcut.0",
    ]
    assert sum(role == "conv" for role in found.values()) == 10 and len(found) == 15


def test_cnns():
    for net in (CNNMnist, CNNFashionMnist):
        kinds = list(roles(net(net.Config(), (1, 28, 28), 10)).values())
        assert kinds == ["stem", "conv", "conv", "linear", "linear", "head"]


def test_a_users_own_net():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv1d(3, 4, 3)
            self.norm = nn.BatchNorm1d(4)
            self.mid = nn.Conv3d(4, 4, 1)
            self.side = nn.Conv2d(4, 4, 1)
            self.side.role = "shortcut"
            self.out = nn.Linear(4, 2)
            self.extra = nn.Linear(4, 4)
            self.extra.role = "linear"
            self.out.role = "head"

    assert roles(Own()) == {"embed": "stem", "mid": "conv", "side": "shortcut", "out": "head", "extra": "linear"}


def test_a_single_layer_is_the_head_and_a_shared_one_counts_once():
    assert roles(nn.Linear(2, 2)) == {"": "head"}
    shared = nn.Linear(2, 2)
    assert roles(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(2, 2))) == {"0": "stem", "3": "head"}


def test_errors():
    with pytest.raises(UsageError, match="BatchNorm1d has no Linear or Conv layer"):
        weight_layers(nn.BatchNorm1d(3))
    net = nn.Linear(2, 2)
    net.role = "trunk"
    with pytest.raises(UsageError, match="'trunk'; known roles: stem, conv, .*, head"):
        weight_layers(net)


# --- selectors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "selectors, expected",
    [
        (["linear"], True),
        (["layers.1"], True),
        (["layers.*"], True),
        (["layers.?"], True),
        (["head", "*1"], True),
        ([], False),
        (["head"], False),
        (["layers"], False),
        (["Layers.1"], False),
        (["LINEAR"], False),
    ],
)
def test_matches(selectors, expected):
    assert layer().matches(selectors) is expected


def test_check_selectors():
    layers = [layer("a.0", "stem"), layer("a.1", "head")]
    check_selectors(["shortcut", "a.*", "a.1"], layers, "mask.exclude")  # a role no layer has is no mistake
    with pytest.raises(UsageError) as error:
        check_selectors(["head", "b.*"], iter(layers), "mask.exclude")
    assert all(part in str(error.value) for part in ("mask.exclude", "'b.*'", "shortcut", "a.0, a.1"))


# --- rules ------------------------------------------------------------------------------------------------------

BY_SPARSITY = {0.9: 1.07, 0.5: 1.3, 0.8: 1.15}


@pytest.mark.parametrize(
    "rule, sparsity, expected",
    [
        (1.2, 0.9, 1.2),
        (2, 0.9, 2),
        (None, 0.9, None),
        (BY_SPARSITY, 0.5, 1.3),
        (BY_SPARSITY, 0.8, 1.15),
        (BY_SPARSITY, 0.65, 1.225),  # halfway between .5 and .8
        (BY_SPARSITY, 0.875, 1.09),  # three quarters of the way from .8 to .9
        (BY_SPARSITY, 0.1, 1.3),
        (BY_SPARSITY, 0.99, 1.07),
        ({0.8: 1.15}, 0.3, 1.15),
        ({"0.5": 1.3, "0.9": 1.1}, 0.7, 1.2),  # keys as text, as a command line gives them
        ({0: 1.5, 1: 1.1}, 0.25, 1.4),
        ({"linear": 1.4, "default": 1.2}, 0.9, 1.4),
        ({"stem": 1.4, "default": 1.2}, 0.9, 1.2),
        ({"default": 1.2, "layers.1": 1.6}, 0.9, 1.6),
        ({"layers.*": 1.7, "linear": 1.4}, 0.9, 1.7),  # the first that matches
        ({"linear": None, "default": 1.2}, 0.9, None),
        ({"linear": {0.5: 1.4, 0.9: 1.2}, "default": 1.2}, 0.7, 1.3),
        ({0.5: {"linear": 1.4, "default": 3}, 0.9: {"layers.1": 1.2, "default": 3}}, 0.6, 1.35),
        ({0.5: {"linear": None, "default": 3}, 0.9: {"linear": 1.3}}, 0.5, None),
        ({0.5: {"linear": None, "default": 3}, 0.9: {"linear": None}}, 0.7, None),
    ],
)
def test_resolve_rule(rule, sparsity, expected):
    got = resolve_rule(rule, layer(), sparsity, "optimizer.p")
    assert got is None if expected is None else got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "rule, message",
    [
        ("1.2", "optimizer.p must be a number or a mapping .* got '1.2'"),
        ([1.2], r"got \[1.2\]"),
        (True, "got True"),
        ({}, "got {}"),
        ({0.5: 1.3, "head": 1.2}, "optimizer.p mixes sparsities with roles"),
        ({"default": 1.3, "0.5": 1.2}, "optimizer.p mixes sparsities with roles"),
        ({"head": 1.3}, "optimizer.p has no entry for layer 'layers.1' .role linear. and no 'default'"),
        ({0.5: 1.3, 0.9: None}, "cannot be interpolated between 1.3 and None: add an entry for sparsity 0.7"),
        ({"linear": "big"}, "got 'big'"),
    ],
)
def test_wrong_rules_name_the_key(rule, message):
    with pytest.raises(UsageError, match=message):
        resolve_rule(rule, layer(), 0.7, "optimizer.p")


def test_layers_hold_the_live_weight():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    found = weight_layers(net)[0]
    with torch.no_grad():
        net[0].weight.fill_(5.0)
    assert found.weight.tolist() == [[5.0, 5.0]] * 3
