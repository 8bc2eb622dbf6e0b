"""FLOPs against counts done by hand."""

import torch
from torch import nn

from lpss.models import build_model
from lpss.sparse.masks import Masks
from lpss.train.cost import Cost
from lpss.train.flops import count_flops


def test_flops_of_linear_and_conv_layers_by_hand():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 5)
    )
    flops = count_flops(net, torch.zeros(1, 2, 8, 8)).layers
    assert flops == {"0": 2 * 8 * 8 * (3 * 2 * 9), "2": 2 * 3 * 3 * (4 * 3 * 9), "4": 2 * 36 * 5}


def test_counting_leaves_normalisation_statistics_and_mode_alone():
    net = build_model({"name": "wrn", "depth": 12, "width": 1}, (1, 16, 16), 10)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    count_flops(net.train(), torch.randn(1, 1, 16, 16))
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_training_cost_follows_the_masks_and_the_dense_backward_passes():
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 2))
    masks = Masks(net, exclude=["1"])
    cost = Cost(net, masks, torch.zeros(1, 10))
    assert cost.inference() == 1 and cost.dense == 2 * 120
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[:, :3] = True
    masks.update("0", mask)
    cost.refresh()
    sparse = 2 * (30 + 20)
    assert cost.inference() == sparse / 240
    cost.step(dense_backward=False)
    cost.step(dense_backward=True)
    assert cost.training() == (3 * sparse + 2 * sparse + 240) / (2 * 3 * 240)
    again = Cost(net, masks, torch.zeros(1, 10))
    again.load_state_dict(cost.state_dict())
    assert again.training() == cost.training()
