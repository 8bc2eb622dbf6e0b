"""The script of DeepR's published figures: its connections, and that it runs."""

import math
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

PATH = Path(__file__).resolve().parents[2] / "scripts" / "deepr_published.py"


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("deepr_published")


@pytest.fixture
def net(script):
    torch.manual_seed(0)
    return script.Net.at_random(64, 10, 0.1, last=50)


def test_layers_keep_their_numbers_of_weights_and_replace_until_nine_tenths(script, net):
    drawn = [layer.active.clone() for layer in net.layers]
    data = TensorDataset(torch.randn(400, 64), torch.randint(10, (400,)))
    moved = dict(script.train(net, data, epochs=20, l1=1e-3, eta=1e-3))
    assert sum(moved[epoch] for epoch in range(1, 19)) > 0 == moved[19] + moved[20]
    assert [int(layer.active.sum()) for layer in net.layers] == [1920, 3000, 50]
    for layer, before in zip(net.layers, drawn, strict=True):
        assert not layer.weight.detach().view(-1)[~layer.active].any()
        assert torch.equal(layer.active.nonzero().view(-1), layer.places.sort().values)
        assert not torch.equal(layer.active, before)


def test_a_connection_that_crossed_zero_makes_room_for_one_that_was_not_active(net):
    layer = net.layers[0]
    active, gone = layer.active.clone(), layer.places[3]
    layer.weight.detach().view(-1)[gone] *= -1
    assert layer.rewire() == 1
    (new,) = (layer.active & ~active).nonzero()
    assert not layer.active[gone] and layer.weight.view(-1)[gone] == 0 == layer.weight.view(-1)[new]
    layer.weight.detach().view(-1)[new] = -0.1  # from 0 it may go either way
    assert layer.rewire() == 0


def test_draws_are_different_numbers_and_none_is_preferred(script):
    torch.manual_seed(0)
    counts = torch.stack([torch.bincount(script.draw(6, 4), minlength=6) for _ in range(600)])
    assert (counts.sum(1) == 4).all() and counts.max() == 1
    assert (counts.sum(0) - 400).abs().max() < 60


def test_a_step_is_torchs_nesterov_step_on_the_active_weights(net):
    layer = net.layers[1]
    twin = torch.nn.Parameter(layer.weight.detach().clone())
    sgd = torch.optim.SGD([twin], lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(3):
        gradient = torch.randn_like(twin)
        layer.weight.grad = gradient.clone()
        twin.grad = (gradient + 0.01 * twin.detach().sign()) * layer.active.view_as(twin)
        layer.step(0.1, 0.01, 0.0)
        sgd.step()
    torch.testing.assert_close(layer.weight, twin)


def test_the_script_prints_its_accuracy(python, tmp_path):
    words = ["--dataset", "digits", "--sparsity", "0.5,0.9", "--epochs", "5", "--last", "200"]
    done = python(PATH, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ends = [line for line in done.stdout.splitlines() if "test accuracy" in line]
    assert [line.split()[0] for line in ends] == ["0.5", "0.9"]
    assert all(math.isfinite(float(line.split()[-1])) and float(line.split()[-1]) > 0.8 for line in ends)
    assert "[1920, 3000, 200]" in ends[1]
