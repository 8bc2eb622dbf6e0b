"""What the tests of all trainers share: a net, data, optimizers, and the plain loop that trainers are compared with."""

import sys

import pytest
import torch
from torch import nn

import lpss

BATCHES, SIZE, CLIP = 8, 8, 0.5  # of an epoch; examples in a batch; the norm that gradients are clipped to


class Net(nn.Module):
    """20 inputs, 5 classes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, x):
        return self.layers(x)


def make_net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def make_optimizer(kind: str, net: nn.Module) -> torch.optim.Optimizer:
    if kind == "adamw":
        return torch.optim.AdamW(net.parameters(), lr=1e-2)
    return lpss.LpSGDm(lpss.param_groups(net, p=1.5, lr_free=0.1), lr=0.02, p=1.5)


def make_data() -> torch.utils.data.TensorDataset:
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(5, (BATCHES * SIZE,), generator=generator)
    return torch.utils.data.TensorDataset(
        torch.randn(len(y), 20, generator=generator) + nn.functional.one_hot(y, 20), y
    )


def plain_loop(net, optimizer, method, epochs: int, accumulate: int = 1, params=None) -> list[float]:
    """Training as one writes it by hand, in the data's order; returns the norms of masked gradients before clipping.

    `params` is the order in which gradients are added up for their norm: that of the optimizer, unless it is given.
    """
    data, norms = make_data(), []
    params = params or [param for group in optimizer.param_groups for param in group["params"]]
    for _ in range(epochs):
        for index in range(BATCHES):
            x, y = data[index * SIZE : (index + 1) * SIZE]
            if index % accumulate == 0:
                optimizer.zero_grad()
            (nn.functional.cross_entropy(net(x), y) / accumulate).backward()
            if (index + 1) % accumulate == 0:
                method.mask_gradients()
                norms.append(float(nn.utils.clip_grad_norm_(params, CLIP)))
                method.step()
    return norms


def assert_same(first: nn.Module, second: nn.Module) -> None:
    theirs = second.state_dict()
    assert first.state_dict().keys() == theirs.keys()
    for name, value in first.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def assert_same_masks(first, second) -> None:
    assert first.steps == second.steps and list(first.masks) == list(second.masks)
    for name in first.masks:
        assert torch.equal(first.masks[name], second.masks[name]), name


def assert_sparse(weights: dict, masks: dict, suffix: str = ".weight") -> float:
    """Saved weights are zero off the saved masks; returns the share of weights that are."""
    zeros = 0
    for name, mask in masks.items():
        weight = weights[name + suffix]
        assert (mask == 0).any() and not weight[mask == 0].any() and weight[mask != 0].any(), name
        zeros += int(((weight == 0) & (mask == 0)).sum())
    return zeros / sum(mask.numel() for mask in masks.values())


@pytest.fixture(scope="session")
def common():
    """This module."""
    return sys.modules[__name__]
