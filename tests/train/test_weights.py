"""Weights and masks as a file, and what layers.csv says of them."""

import math

import pytest
import torch
from torch import nn

import lpss
from lpss.errors import DataError
from lpss.train.weights import layer_rows, load_weights, save_weights


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
