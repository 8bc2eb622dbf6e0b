"""Methods that prune before training: GraSP, SynFlow, and SNIP on nets that it cannot judge."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lpss
from lpss import SNIP, GraSP, Static, SynFlow
from lpss.errors import UsageError

BOTH = pytest.mark.parametrize("method", [GraSP, SynFlow])


@BOTH
def test_masks_are_set_before_training_and_stay(trained, method):
    run = trained(method)
    masks = run.masks
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.4 * 608)
    run.train(20)
    assert all(torch.equal(mask, masks[name]) for name, mask in run.masks.items())


@BOTH
def test_preparing_leaves_the_net_as_it_was_but_for_the_masks(trained, method):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20), nn.Dropout(0.5), nn.Linear(20, 3))
    net[2].eval()
    before = copy.deepcopy(net.state_dict())
    identities = [id(x) for x in [*net.parameters(), *net.buffers()]]
    random = torch.get_rng_state()
    run = trained(Static, net=net, sparsity=0.0)  # only for its batches
    made = method(net, run.optimizer, sparsity=0.6, total_steps=10)
    torch.set_rng_state(random)
    made.prepare([run.batch(step) for step in range(20)])
    assert torch.equal(torch.get_rng_state(), random)
    assert identities == [id(x) for x in [*net.parameters(), *net.buffers()]]
    assert (
        net.training
        and not net[2].training
        and all(x.dtype == before[key].dtype for key, x in net.state_dict().items())
    )
    for name, layer in made.masks.layers.items():
        assert torch.equal(layer.weight.detach(), before[f"{name}.weight"] * made.masks[name])
    for key in ("0.bias", "1.weight", "1.running_mean", "1.num_batches_tracked"):
        assert torch.equal(net.state_dict()[key], before[key])
    assert all(param.grad is None for param in net.parameters())


@BOTH
def test_a_step_before_preparation_is_one_line(method):
    net = nn.Linear(4, 3)
    made = method(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.5, total_steps=3)
    F.cross_entropy(net(torch.ones(2, 4)), torch.tensor([0, 1])).backward()
    with pytest.raises(UsageError, match=r"sets its masks before training: call prepare\(batches\) once"):
        made.step()
    with pytest.raises(UsageError, match="at least one batch"):
        made.prepare([])


@BOTH
def test_an_accelerated_net_can_be_prepared(trained, method):
    plain = trained(method)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))
    made = method(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.6, total_steps=10)
    acceleration = lpss.accelerate(net, made)
    made.prepare(plain.batch(step) for step in range(100))
    assert all(torch.equal(mask.bool(), plain.masks[name]) for name, mask in made.masks.items())
    assert acceleration.sparse_now() == ["0", "2", "4"]


# --- GraSP ------------------------------------------------------------------------------------------------------


def test_the_score_of_grasp_on_a_quadratic_is_the_closed_form(trained, monkeypatch):
    # For the loss  |W x - 0|^2 / 2  over a batch: g = W C and H g = W C C, with C = x^T x.
    net = nn.Linear(5, 3, bias=False)
    run = trained(Static, net=net, sparsity=0.0)
    made = GraSP(net, run.optimizer, sparsity=0.5, total_steps=1, temperature=1.0)
    monkeypatch.setattr(F, "cross_entropy", lambda outputs, targets: outputs.square().sum() / 2)
    x = torch.randn(7, 5)
    score = made._scores(x, torch.zeros(7, dtype=torch.long))[""]
    weight, c = net.weight.detach(), x.t() @ x
    # -w (H g) is smallest where w (H g) is largest: these stay. flow is g.detach . g, so its gradient is H g.
    torch.testing.assert_close(score, weight * (weight @ c @ c))


def test_the_largest_scores_stay_over_all_layers_and_one_in_each(trained):
    run = trained(GraSP, sparsity=0.99)
    assert min(run.method.masks.active().values()) >= 1
    assert sum(run.method.masks.active().values()) == round(0.01 * 608)


def test_samples_are_balanced():
    from lpss.sparse.methods.grasp import _balanced

    x, y = torch.arange(60.0).view(30, 2), torch.arange(30) % 3
    y[:20] = 0
    xs, ys = _balanced([(x[:15], y[:15]), (x[15:], y[15:])], 3)
    assert torch.bincount(ys).tolist() == [3, 3, 3] and torch.equal(xs[:3], x[:3])


# --- SynFlow ----------------------------------------------------------------------------------------------------


def test_flow_is_conserved_between_layers_of_a_net_without_biases():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 5, bias=False)).double()
    made = SynFlow(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.5, total_steps=1)
    with torch.no_grad():
        for param in net.parameters():
            param.abs_()
    scores = made._scores(torch.ones(1, 6, dtype=torch.float64))
    torch.testing.assert_close(scores["0"].sum(1), scores["2"].sum(0))  # what enters a neuron leaves it


def test_iterations_keep_every_layer_alive_where_one_round_empties_one(trained):
    def deep():
        torch.manual_seed(1)
        widths = [12, 40, 6, 40, 6, 40, 3]
        layers = [nn.Linear(a, b, bias=False) for a, b in zip(widths, widths[1:], strict=False)]
        return nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])

    run = trained(SynFlow, net=deep(), sparsity=0.97)
    assert sum(run.method.masks.active().values()) == round(0.03 * run.method.masks.maskable)
    assert run.net(torch.ones(1, 12)).abs().sum() > 0 or min(run.method.masks.active().values()) >= 1
    many, once = (
        torch.tensor(list(trained(SynFlow, net=deep(), sparsity=0.97, rounds=rounds).method.masks.active().values()))
        for rounds in (100, 1)
    )
    assert many.min() >= once.min() and not torch.equal(many, once)


def test_grasp_says_that_it_is_not_for_trained_nets(trained):
    assert not trained(GraSP).method.preflight_warnings()
    (line,) = trained(GraSP, pretrained=True).method.preflight_warnings()
    assert "nets that have not been trained" in line


def test_snip_says_that_no_gradient_passes_a_head_of_zeros(trained, caplog):
    assert not trained(SNIP).method.preflight_warnings()
    net = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 3))
    nn.init.zeros_(net[2].weight)
    run = trained(SNIP, net=net)
    assert run.method.preflight_warnings() == [
        "SNIP chooses weights by gradients, which do not pass 2.weight: all zero at first"
    ]
    run.train(1)
    assert "SNIP: all weights of 0, 2 score zero: which of them stay is arbitrary" in caplog.text
