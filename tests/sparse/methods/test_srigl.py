"""SRigL: constant fan-in, ablation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lpss import RigL, SRigL
from lpss.errors import UsageError

OFTEN = {"update_every": 3}


def fan_ins(run):
    return {name: mask.flatten(1).sum(1) for name, mask in run.masks.items()}


@pytest.mark.parametrize("ablation", [0.0, 0.3, 0.95])
def test_every_live_neuron_has_the_same_fan_in_at_all_times(trained, ablation):
    run = trained(SRigL, ablation=ablation, sparsity=0.8, **OFTEN)

    def check(run):
        for name, counts in fan_ins(run).items():
            assert len(set(counts[counts > 0].tolist())) == 1, name

    check(run)
    run.train(40, check)


@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.98])
def test_the_requested_sparsity_is_kept_when_neurons_are_ablated(sparsity):
    """One step of the first layer's fan-in is .0011 of all weights: rounding it down in each layer missed .001."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    method = SRigL(net, optimizer, sparsity=sparsity, total_steps=60, update_every=3, ablation=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(torch.rand(8, 784)), torch.randint(10, (8,))).backward()
        method.step()
        assert method.masks.masked_share() == pytest.approx(sparsity, abs=3e-4)
    assert 0 < int((~method.masks["0"].bool().any(1)).sum()) < 300


def test_ablated_neurons_stay_ablated_and_the_head_has_none(trained):
    run, ablated = trained(SRigL, ablation=0.95, sparsity=0.8, **OFTEN), {}

    def check(run):
        for name, counts in fan_ins(run).items():
            now = counts == 0
            assert not (ablated.get(name, torch.zeros_like(now)) & ~now).any()
            ablated[name] = now

    run.train(40, check)
    assert any(gone.any() for gone in ablated.values()) and not ablated["4"].any()
    assert run.method.layer_collapse() == []


def test_without_ablation_all_neurons_live(trained):
    run = trained(SRigL, ablation=0.0, sparsity=0.8, **OFTEN).train(40)
    assert all((counts > 0).all() for counts in fan_ins(run).values())


def test_what_is_kept_is_what_rigl_would_keep_as_far_as_the_fan_in_allows(trained):
    run = trained(SRigL, ablation=0.0, sparsity=0.5, distribution="uniform", **OFTEN).train(3)
    before, weights = run.masks, run.weights
    run.gradients(3)
    gradients = {name: layer.weight.grad.abs().clone() for name, layer in run.method.masks.layers.items()}
    run.method.step()
    for name, mask in run.masks.items():
        for row in range(len(mask)):
            stays, gone, new = (
                before[name][row] & mask[row],
                before[name][row] & ~mask[row],
                mask[row] & ~before[name][row],
            )
            if gone.any() and stays.any():
                regrown = stays & (weights[name][row].abs() < weights[name][row][gone].abs().max())
                assert (
                    gradients[name][row][regrown].min() >= gradients[name][row][gone].min() if regrown.any() else True
                )
            if new.any():
                assert gradients[name][row][new].min() >= gradients[name][row][~mask[row] & ~before[name][row]].max()


def test_whole_fan_ins_come_near_the_requested_total():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 1024), nn.Linear(1024, 512), nn.Linear(512, 64), nn.Linear(64, 26))
    for sparsity in (0.5, 0.8, 0.9, 0.95):
        for distribution in ("uniform", "erk"):
            method = SRigL(
                net,
                torch.optim.SGD(net.parameters(), lr=0.1),
                sparsity=sparsity,
                total_steps=9,
                distribution=distribution,
            )
            assert method.masks.masked_share() == pytest.approx(sparsity, abs=1e-3)


def test_no_layer_is_ablated_below_what_dense_neurons_can_hold(trained):
    run = trained(SRigL, ablation=1.0, sparsity=0.3, distribution="uniform", **OFTEN).train(30)
    for name, counts in fan_ins(run).items():
        assert int((counts > 0).sum()) * run.masks[name][0].numel() >= run.method.budget[name], name


def test_the_share_for_ablation_is_checked(trained):
    with pytest.raises(UsageError, match="method.ablation"):
        trained(SRigL, ablation=1.5)
    assert SRigL.moves_at_update is RigL.moves_at_update
