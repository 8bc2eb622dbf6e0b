"""What training costs, against counts done by hand."""

import torch
from torch import nn

import lpss
from lpss.sparse.masks import Masks
from lpss.train.cost import Cost


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
    spent = cost.spent
    cost.step(dense_backward=False, extra_backwards=3)
    assert cost.spent - spent == 3 * sparse + 3 * 2 * sparse
    again = Cost(net, masks, torch.zeros(1, 10))
    again.load_state_dict(cost.state_dict())
    assert again.training() == cost.training()


def test_gradients_of_other_weights_than_active_ones_are_counted_where_the_method_says_so():
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 2))
    method = lpss.TopKAST(
        net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.8, total_steps=9, backward_density=0.3
    )
    cost = Cost(net, method.masks, torch.zeros(1, 10), method.gradient_counts)
    cost.step(dense_backward=False)
    assert cost.inference() == 0.2 and abs(cost.training() - (0.2 + 0.2 + 0.5) / 3) < 1e-9


def test_products_without_a_layers_weight_cost_the_same_in_a_sparse_net():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(5 * 8, 3))
    method = lpss.Static(net, torch.optim.SGD(net.parameters()), sparsity=0.75, total_steps=1)
    cost = lpss.Cost(net, method.masks, torch.zeros(1, 5, 8))
    assert cost.other == 2 * 2 * 2 * 5 * 5 * 8
    weights = 2 * (2 * 5 * (4 * 8 * 8 + 2 * 8 * 16) + 5 * 8 * 3)
    assert cost.dense == weights + cost.other
    assert cost.sparse == weights / 4 + cost.other
    cost.step(dense_backward=True)
    assert cost.training() == (2 * cost.sparse + cost.dense) / (3 * cost.dense)


def test_the_report_says_what_is_dense_and_what_is_not_counted():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net.forward = lambda x: torch.fft.fft(net[2](net[1](x) @ x.T @ x))
    method = lpss.Static(net, torch.optim.SGD(net.parameters()), sparsity=0.5, total_steps=1, exclude=["head"])
    assert str(lpss.Cost(net, method.masks, torch.zeros(1, 4))).split("\n") == [
        "a forward pass: 64 FLOPs dense, 48 with the masks (75.0%)",
        "of the dense FLOPs: 50.0% in masked layers, 25.0% in other layers, 25.0% in products without a layer's weight",
        "not counted: aten._fft_r2c (1 call): no formula is known",
        "not counted: 0: the weight is in no product "
        "(not called with the example in eval mode, or not used as it is, which counts as dense)",
    ]
