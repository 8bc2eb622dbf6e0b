"""SNFS: momentum of dense gradients, and what layers give each other."""

import pytest
import torch

from lpss import SNFS, LpSGD, LpSGDm, param_groups
from lpss.errors import UsageError

OFTEN = {"update_every": 4}


def test_the_total_is_constant_and_layers_change_their_share(trained):
    run = trained(SNFS, **OFTEN)
    first = run.method.masks.active()
    totals = set()
    run.train(40, lambda run: totals.add(sum(run.method.masks.active().values())))
    assert totals == {sum(first.values())} and run.method.masks.active() != first
    assert not run.method.keeps_layer_counts


def test_without_redistribution_every_layer_keeps_its_count(trained):
    run = trained(SNFS, redistribution="none", **OFTEN)
    first, masks = run.method.masks.active(), run.masks
    run.train(40)
    assert run.method.masks.active() == first and run.method.keeps_layer_counts
    assert any(not torch.equal(masks[name], mask) for name, mask in run.masks.items())


def test_the_optimizers_momentum_is_that_of_dense_gradients(trained):
    run = trained(SNFS, **OFTEN)
    expected = {name: torch.zeros_like(weight) for name, weight in run.weights.items()}
    for step in range(12):
        run.gradients(step)
        for name, layer in run.method.masks.layers.items():
            expected[name] = 0.9 * expected[name] + layer.weight.grad
        run.method.step()
    for name, layer in run.method.masks.layers.items():
        momentum = run.optimizer.state[layer.parameter]["momentum_buffer"]
        torch.testing.assert_close(momentum, expected[name])
        assert momentum[~run.masks[name]].any()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda net: LpSGDm(param_groups(net, 1.4), lr=0.05, p=None),
        lambda net: LpSGD(param_groups(net, 1.4), lr=0.05, p=None),
        lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
    ],
    ids=["lpsgd_m", "lpsgd", "sgd without momentum"],
)
def test_its_own_average_is_that_of_dense_gradients_where_the_optimizer_keeps_none(trained, optimizer):
    run = trained(SNFS, optimizer=optimizer, decay=0.8, **OFTEN)
    expected = {name: torch.zeros_like(weight) for name, weight in run.weights.items()}
    for step in range(12):
        run.gradients(step)
        for name, layer in run.method.masks.layers.items():
            expected[name] = 0.8 * expected[name] + 0.2 * layer.weight.grad
        run.method.step()
    for name, average in run.method.average.items():
        torch.testing.assert_close(average, expected[name])
        assert not run.weights[name][~run.masks[name]].any()


def test_own_momentum_masks_what_the_optimizer_sees(trained):
    run = trained(SNFS, momentum="own", **OFTEN).train(9)
    for name, layer in run.method.masks.layers.items():
        assert not run.optimizer.state[layer.parameter]["momentum_buffer"][~run.masks[name]].any()


def test_adams_momentum_is_its_normalised_first_moment(trained):
    run = trained(SNFS, optimizer=lambda net: torch.optim.Adam(net.parameters(), lr=0.01), **OFTEN).train(6)
    for name, layer in run.method.masks.layers.items():
        state = run.optimizer.state[layer.parameter]
        expected = (state["exp_avg"] / (state["exp_avg_sq"].sqrt() + 1e-8)).abs()
        torch.testing.assert_close(run.method.grow_score(name), expected)


def test_what_a_full_layer_cannot_take_goes_to_others(trained):
    run = trained(SNFS, sparsity=0.2, drop_schedule="constant", update_every=1)
    counts = run.method.masks.active()
    dropped = {name: 10 for name in counts}
    grown = run.method._shared_out(dropped, counts, {"0": 1.0, "2": 0.0, "4": 0.0})
    room = {name: run.method.masks[name].numel() - counts[name] + 10 for name in counts}
    assert sum(grown.values()) == 30 and all(grown[name] <= room[name] for name in grown)
    full = run.method._shared_out(dict.fromkeys(counts, 60), dict.fromkeys(counts, 40), {"0": 0.0, "2": 0.0, "4": 1.0})
    assert sum(full.values()) == 180 and full["4"] == int(0.99 * (48 - 40 + 60)) and full["0"] > 0 < full["2"]


def test_a_nearly_dense_layer_that_grows_drops_no_more_than_it_has_zeros(trained):
    run = trained(SNFS, sparsity=0.1, drop_schedule="constant")
    run.method.steps = 1
    count = run.method.masks.active()["2"]
    assert run.method._dropped("2", count, share=0.9) == pytest.approx(0.1 * count, abs=1)
    assert run.method._dropped("2", count, share=0.1) == pytest.approx(0.5 * count, abs=1)


def test_the_largest_momentum_grows_and_the_smallest_weights_go(trained):
    run = trained(SNFS, redistribution="none", drop_schedule="constant", drop_fraction=0.25, update_every=4).train(4)
    before, weights = run.masks, run.weights
    momentum = {name: run.method.grow_score(name).clone() for name in before}
    run.train(1)
    for name, mask in run.masks.items():
        gone, new = before[name] & ~mask, mask & ~before[name]
        stayed = before[name] & mask
        if gone.any():
            assert weights[name][gone].abs().max() <= weights[name][stayed].abs().max()
            assert momentum[name][new].min() >= momentum[name][~mask].max()


def test_every_step_costs_a_dense_gradient(trained):
    run = trained(SNFS)
    assert run.method.dense_backward and not run.method.should_update()


@pytest.mark.parametrize("options", [{"momentum": "mine"}, {"redistribution": "all"}, {"decay": 1.0}])
def test_wrong_options_are_named(trained, options):
    with pytest.raises(UsageError, match=f"method.{next(iter(options))}"):
        trained(SNFS, **options)
