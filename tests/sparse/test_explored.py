"""How many weights have been active at some time."""

import pytest
import torch
from torch import nn

from lpss import SET, Static
from lpss.sparse.explored import Explored


def method_on(method, **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    return method(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.8, total_steps=40, **options)


def test_it_adds_up_what_has_been_active():
    method = method_on(SET, update_every=1)
    explored = Explored(method.masks)
    assert explored.share() == 0.0
    ever = {name: torch.zeros_like(mask, dtype=torch.bool) for name, mask in method.masks.items()}
    for _ in range(10):
        for layer in method.masks.layers.values():
            layer.parameter.grad = torch.randn_like(layer.parameter)
        method.step()
        explored.note()
        for name, mask in method.masks.items():
            ever[name] |= mask.bool()
    assert explored.share() == pytest.approx(sum(int(one.sum()) for one in ever.values()) / 750)
    assert 0.25 < explored.share() < 1.0


def test_a_static_mask_explores_no_more_than_it_has():
    explored = Explored(method_on(Static).masks)
    for _ in range(3):
        explored.note()
    assert explored.share() == pytest.approx(0.2)


def test_its_state_is_taken_back():
    first, other = (Explored(method_on(Static, seed=seed).masks) for seed in (1, 2))
    first.note()
    state = first.state_dict()
    other.note()
    other.load_state_dict(state)
    assert other.share() == first.share()
    other.note()
    assert other.share() > first.share()
