"""A net, batches and a loop that the tests of single methods share."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F


class Trained:
    """An MLP with a method, which is trained on batches that depend on the step alone."""

    def __init__(self, method, steps=40, sparsity=0.6, optimizer=None, net=None, **options):
        torch.manual_seed(0)
        self.net = net or nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))
        make = optimizer or (lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
        self.optimizer = make(self.net)
        self.method = method(self.net, self.optimizer, sparsity=sparsity, total_steps=steps, **options)
        if self.method.needs_preparation:
            self.method.prepare(self.batch(step) for step in range(100))

    @staticmethod
    def batch(step):
        generator = torch.Generator().manual_seed(step)
        y = torch.randint(3, (16,), generator=generator)
        return torch.randn(16, 12, generator=generator) + y.view(-1, 1), y

    def gradients(self, step):
        x, y = self.batch(step)
        self.optimizer.zero_grad()
        outputs = self.net(x)
        if self.method.looks_at_outputs:
            self.method.before_backward(outputs, y)
        F.cross_entropy(outputs, y).backward()

    def train(self, steps, check=lambda trained: None):
        for step in range(self.method.steps, self.method.steps + steps):
            self.gradients(step)
            self.method.step()
            check(self)
        return self

    def resume(self, other):
        """Go on from the state of another one, as from its checkpoint."""
        for name in ("net", "optimizer", "method"):  # torch's optimizers share the tensors that they load
            getattr(self, name).load_state_dict(copy.deepcopy(getattr(other, name).state_dict()))
        return self

    @property
    def masks(self):
        return {name: mask.bool().clone() for name, mask in self.method.masks.items()}

    @property
    def weights(self):
        return {name: layer.weight.detach().clone() for name, layer in self.method.masks.layers.items()}


@pytest.fixture
def trained():
    return Trained


@pytest.fixture
def same():
    """Whether two trained nets have the same weights and masks, bit by bit."""

    def compare(a, b):
        return all(
            torch.equal(x, y)
            for one, other in ((a.masks, b.masks), (a.weights, b.weights))
            for x, y in zip(one.values(), other.values(), strict=True)
        )

    return compare
