"""Loss and accuracy against numbers by hand."""

import math

import pytest
import torch
from torch import nn

from lpss.train.evaluate import evaluate


def test_mean_loss_and_accuracy_over_uneven_batches_in_evaluation_mode():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.99)).train()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
    x = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    y = torch.tensor([0, 1, 1])
    loss, accuracy = evaluate(net, [(x[:2], y[:2]), (x[2:], y[2:])])
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert loss == pytest.approx((2 * right + wrong) / 3, abs=1e-6)
    assert accuracy == pytest.approx(2 / 3)
    assert net.training
