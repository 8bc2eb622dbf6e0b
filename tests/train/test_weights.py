"""Weights and masks as a file, and what layers.csv says of them."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lpss
from lpss.errors import DataError
from lpss.layers import weight_layers
from lpss.train.weights import layer_rows, load_weights, save_weights, weight_key


@pytest.fixture
def method():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return net, lpss.Static(net, optimizer, sparsity=0.5, total_steps=1)


def test_layer_rows_count_what_the_masks_hold(method):
    net, static = method
    static.set_mask("0", torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0] * 6, [0] * 6], dtype=torch.bool))
    with torch.no_grad():
        net[0].weight[0] = 0.5  # equal magnitudes: Hoyer's sparsity 0; one weight: 1; dead neurons do not count
    first, _, last = layer_rows(static, {"0": 1.2, "2": None, "4": None})
    assert first["layer"] == "0" and first["role"] == "stem" and first["shape"] == "4x6" and first["p"] == 1.2
    assert (first["weights"], first["active"], first["empty_neurons"]) == (24, 7, 2)
    assert first["density_requested"] == 0.5 and first["density_reached"] == pytest.approx(7 / 24)
    assert first["sparsity_reached"] == pytest.approx(17 / 24)
    assert first["hoyer_sparsity"] == pytest.approx(0.5, abs=1e-6)
    assert math.isnan(last["hoyer_sparsity"])  # a fan-in of 1: not defined


def test_weights_come_back_and_fit_their_own_net_alone(method, tmp_path):
    net, static = method
    save_weights(tmp_path / "weights.safetensors", net, static)
    other = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 2))
    masks = load_weights(tmp_path / "weights.safetensors", other)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(masks[name], static.masks[name].bool()) for name in static.masks)
    for path, target in ((tmp_path / "weights.safetensors", nn.Linear(2, 2)), (tmp_path / "missing", other)):
        with pytest.raises(DataError, match="does not hold this net's weights"):
            load_weights(path, target)
    (tmp_path / "broken").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="broken"):
        load_weights(tmp_path / "broken", other)


def test_what_is_off_the_masks_is_written_without_a_sign(method, tmp_path):
    net, static = method
    with torch.no_grad():
        net[0].weight.fill_(-1.0)
        net[0].weight[0] = -0.0
    static.set_mask("0", torch.arange(24).view(4, 6) % 2 == 0)  # which leaves -0 where -1 was
    save_weights(tmp_path / "w.safetensors", net, static)
    weight = load_file(tmp_path / "w.safetensors")["net.0.weight"]
    assert torch.equal(torch.signbit(weight), static.masks["0"].bool())
    assert weight[0].eq(0).all() and not weight[1:, 1::2].any() and weight[1:, ::2].eq(-1).all()


def test_masks_find_their_weights_by_name():
    lstm, attention = nn.LSTM(3, 4), nn.MultiheadAttention(4, 2)
    net = nn.ModuleDict({"lstm": lstm, "attention": attention, "linear": nn.Linear(4, 2)})
    masks = {layer.name: torch.ones_like(layer.parameter).bool() for layer in weight_layers(net)}
    found = {layer: weight_key(layer, mask, net.state_dict()) for layer, mask in masks.items()}
    assert found == {
        "lstm.weight_ih_l0": "lstm.weight_ih_l0",
        "lstm.weight_hh_l0": "lstm.weight_hh_l0",
        "attention.in_proj_weight": "attention.in_proj_weight",
        "attention.out_proj": "attention.out_proj.weight",
        "linear": "linear.weight",
    }
    assert weight_key("", torch.ones(2, 4), nn.Linear(4, 2).state_dict()) == "weight"
    weight_norm = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    assert weight_key("", torch.ones(2, 4), weight_norm.state_dict()) is None


@pytest.mark.parametrize("part", [False, True], ids=["the whole net", "a part of it"])
def test_a_compiled_nets_masks_and_weights_fit_the_net_itself(tmp_path, part):
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), nn.Linear(4, 2))

    compiled, plain = net(), net()
    if part:
        compiled[0] = torch.compile(compiled[0])
    else:
        compiled = torch.compile(compiled)
    methods = [
        lpss.Static(one, torch.optim.SGD(one.parameters(), lr=0.1), sparsity=0.5, total_steps=1, exclude=["0.0"])
        for one in (compiled, plain)
    ]
    assert list(methods[0].masks) == list(methods[1].masks) == ["1"]
    methods[1].load_state_dict(methods[0].state_dict())
    save_weights(tmp_path / "w.safetensors", compiled, methods[0])
    masks = load_weights(tmp_path / "w.safetensors", plain)
    assert list(masks) == ["1"] and torch.equal(plain[1].weight.bool(), masks["1"])
