import pytest
import torch
from torch import nn

from lpss import LpSGDm, Masks
from lpss.errors import UsageError


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3, bias=False), nn.Linear(3, 2))


def step(net, optimizer, steps=1):
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()


HALF = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1]]).bool()


def test_masks_start_dense_in_order_shape_and_dtype():
    net = make_net().double()
    masks = Masks(net)
    assert list(masks) == ["0", "2", "3"] and len(masks) == 3
    for name in masks:
        assert masks[name].shape == masks.layers[name].weight.shape and masks[name].dtype == torch.float64
        assert masks[name].min() == 1 and not masks[name].requires_grad
    assert masks.sparsity_weights() == masks.sparsity_all_parameters() == 0.0


def test_update_zeroes_weights_and_counts_are_named():
    net = make_net()
    before = net[0].weight.detach().clone()
    masks = Masks(net)
    masks.update("0", HALF)
    assert torch.equal(net[0].weight, before * HALF)
    assert masks.active() == {"0": 4, "2": 6, "3": 6} and masks.maskable == 20
    assert masks.sparsity_weights() == pytest.approx(4 / 20)
    assert masks.sparsity_all_parameters() == pytest.approx(4 / 24)  # 20 weights, 4 biases
    masks.update("0", torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]]).bool())
    assert masks.empty_neurons() == {"0": 1, "2": 0, "3": 0}


def test_exclude_by_role_and_pattern():
    assert list(Masks(make_net(), ["head"])) == ["0", "2"]
    masks = Masks(make_net(), ["stem", "3"])
    assert list(masks) == ["2"] and masks.maskable == 6
    masks.update("2", torch.zeros(3, 2).bool())
    assert masks.sparsity_weights() == 1.0 and masks.sparsity_all_parameters() == pytest.approx(6 / 24)


@pytest.mark.parametrize(
    "exclude, message",
    [
        (["tail"], "mask.exclude: 'tail'"),
        (["stem", "linear", "head"], "leaves no trainable layer to mask"),
    ],
)
def test_wrong_exclude(exclude, message):
    with pytest.raises(UsageError, match=message):
        Masks(make_net(), exclude)


@pytest.mark.parametrize(
    "make, keys",
    [
        (lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), {"momentum_buffer"}),
        (lambda net: torch.optim.Adam(net.parameters(), amsgrad=True), {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
        (lambda net: LpSGDm([{"params": [net[0].weight]}], lr=0.1, p=1.2), {"v", "mu"}),
    ],
)
def test_update_keeps_the_state_of_connections_that_stay_alone(make, keys):
    net = make_net()
    optimizer, masks = make(net), Masks(net)
    masks.update("0", torch.tensor([[1, 0, 1, 1], [1, 1, 1, 0]]).bool(), optimizer)
    step(net, optimizer, 2)  # gradients are not masked here: there is state everywhere
    state = optimizer.state[net[0].weight]
    before = {key: state[key].clone() for key in keys}
    assert all((value != 0).all() for value in before.values())
    other = {key: value.clone() for key, value in optimizer.state[net[2].weight].items() if torch.is_tensor(value)}
    masks.update("0", HALF, optimizer)
    stays = HALF & torch.tensor([[1, 0, 1, 1], [1, 1, 1, 0]]).bool()
    for key in keys:
        assert torch.equal(state[key], before[key] * stays)
    if "step" in state:
        assert state["step"] == 2
    for key, value in other.items():
        assert torch.equal(optimizer.state[net[2].weight][key], value)


def test_update_keeps_named_state_and_makes_none():
    net = make_net()
    optimizer, masks = LpSGDm([net[0].weight], lr=0.1, p=1.2), Masks(net)
    masks.update("0", ~HALF, optimizer)
    assert len(optimizer.state) == 0
    net(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    v = optimizer.state[net[0].weight]["v"].clone()
    masks.update("0", HALF, optimizer, keep=("v",))
    assert torch.equal(optimizer.state[net[0].weight]["v"], v)
    assert not optimizer.state[net[0].weight]["mu"].any()


def test_apply_to_weights_and_gradients():
    net = make_net()
    masks = Masks(net, ["head"])
    masks.update("0", HALF)
    masks.apply_to_gradients()  # nothing to do before a backward
    with torch.no_grad():
        net[0].weight.fill_(2.0)
    masks.apply_to_weights()
    assert torch.equal(net[0].weight, 2.0 * HALF)
    for param in net.parameters():
        param.grad = torch.ones_like(param)
    net[2].weight.grad = None
    masks.apply_to_gradients()
    assert torch.equal(net[0].weight.grad, HALF.float())
    assert net[0].bias.grad.min() == net[3].weight.grad.min() == 1 and net[2].weight.grad is None


def test_the_mask_object_stays_the_same_and_values_change():
    net = make_net()
    masks = Masks(net)
    mask, weight = masks["0"], net[0].weight
    masks.update("0", HALF)
    assert masks["0"] is mask and net[0].weight is weight and torch.equal(mask.bool(), HALF)


def test_state_dict_round_trip():
    masks, other = Masks(make_net()), Masks(make_net())
    masks.update("0", HALF)
    state = masks.state_dict()
    assert {value.dtype for value in state.values()} == {torch.bool}
    masks.update("0", ~HALF)  # what was saved is a copy
    mask = other["0"]
    other.load_state_dict(state)
    assert torch.equal(other["0"], HALF.float()) and other["0"] is mask
    del state["2"]
    with pytest.raises(UsageError, match="another net's: none for '2' of \\(3, 2\\)"):
        other.load_state_dict(state)


def test_frozen_layers_are_left_alone_and_a_shared_weight_has_one_mask():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[0].weight.requires_grad_(False)
    net[2].weight = net[1].weight
    with pytest.raises(UsageError, match="0: frozen; 1: shared with 2.weight"):  # pruned if asked for, and once
        Masks(net)
    assert list(Masks(net, include=["2"])) == ["1"]
    net[1].weight.requires_grad_(False)
    with pytest.raises(UsageError, match="no trainable layer"):
        Masks(net)


def test_hoyer_sparsity_leaves_out_what_has_none():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1), nn.Linear(1, 2))
    masks = Masks(net)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1, 1, 1], [0, 2, 0, 0], [0, 0, 0, 0]]))
        net[1].weight.copy_(torch.tensor([[3.0, 0, 3]]))
    two_of_three = (3**0.5 - 2**0.5) / (3**0.5 - 1)
    assert list(masks.hoyer_sparsity()) == ["0", "1"]  # a fan-in of 1 has none
    assert masks.mean_hoyer_sparsity() == pytest.approx((0 + 1 + two_of_three) / 3)  # nor has the empty neuron
