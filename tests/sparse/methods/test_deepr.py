"""DeepR: signs, crossings, and connections drawn in place of those that are gone."""

import pytest
import torch

from lpss import DeepR, LpSGD, Static, param_groups
from lpss.errors import UsageError

NOISY = {"noise": 0.05, "alpha": 0.1}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_number_of_connections_is_constant_while_they_change(trained, scope):
    run = trained(DeepR, scope=scope, **NOISY)
    layers, masks, totals = run.method.masks.active(), run.masks, set()
    run.train(40, lambda run: totals.add(sum(run.method.masks.active().values())))
    assert totals == {sum(layers.values())}
    assert (run.method.masks.active() == layers) == (scope == "layer") == run.method.keeps_layer_counts
    assert sum(int((masks[name] != mask).sum()) for name, mask in run.masks.items()) > 20


def test_with_fixed_signs_no_weight_is_ever_used_with_the_wrong_one(trained):
    run = trained(DeepR, **NOISY)
    signs = {name: sign.clone() for name, sign in run.method.signs.items()}

    def check(run):
        for name, weight in run.weights.items():
            assert not (weight * signs[name] < 0).any()

    check(run)
    run.train(40, check)
    assert all(torch.equal(sign, signs[name]) for name, sign in run.method.signs.items())


def test_redrawn_signs_change_with_the_connection(trained):
    run = trained(DeepR, sign="redraw", **NOISY)
    signs = {name: sign.clone() for name, sign in run.method.signs.items()}
    run.train(40)
    changed = torch.cat([(signs[name] != run.method.signs[name]).flatten() for name in signs])
    assert 0.02 < changed.float().mean() < 0.5
    for name, weight in run.weights.items():
        assert not (weight * run.method.signs[name] < 0).any()


def test_without_penalty_and_noise_it_is_sgd_on_masks_until_a_weight_crosses_zero(trained, same):
    def slow(net):
        return torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    run = trained(DeepR, alpha=0.0, noise=0.0, sign="free", seed=5, optimizer=slow)
    static = trained(Static, seed=5, optimizer=slow)
    for _ in range(40):
        run.train(1)
        static.train(1)
        if any(crossed.any() for crossed in run.method.crossed.values()):
            break
        assert same(run, static)
    assert run.method.steps > 1


def test_a_weight_that_crosses_is_zero_at_once_and_replaced_at_the_next_update(trained):
    run = trained(DeepR, **NOISY).train(5)
    crossed = {name: value.clone() for name, value in run.method.crossed.items()}
    assert any(value.any() for value in crossed.values())
    assert all(run.masks[name][value].all() for name, value in crossed.items())
    assert not any(run.weights[name][value].any() for name, value in crossed.items())
    before = run.masks
    run.train(1)
    for name, value in crossed.items():
        new = run.masks[name] & ~before[name]
        assert int(new.sum()) <= int(value.sum())
        assert not (before[name] & ~value & ~run.masks[name]).any()  # no other connection has gone


def test_new_connections_are_drawn_uniformly(trained):
    counts = None
    for seed in range(300):
        method = trained(DeepR, sparsity=0.5, seed=seed, return_at_once=False).method
        method.steps = 1
        for name, mask in method.masks.items():
            active = torch.zeros_like(mask, dtype=torch.bool).flatten()
            active[: active.numel() // 2] = True
            method.set_mask(name, active.view_as(mask))
        crossed = method.crossed["2"].flatten()
        crossed[:40] = True
        method.update()
        new = (method.masks["2"].flatten() != 0)[160:].float()
        counts = new if counts is None else counts + new
    expected = 300 * 40 / 160
    statistic = ((counts - expected).square() / (expected * 0.75)).sum().item()  # drawn without replacement
    assert 100 < statistic < 230  # chi-square with 159 degrees of freedom


def test_the_walk_has_the_asked_for_size(trained):
    run = trained(DeepR, alpha=0.0, noise=0.5, optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=0.02))
    before = run.weights
    for layer in run.method.masks.layers.values():
        layer.parameter.grad = torch.zeros_like(layer.parameter)
    run.method.step()
    moves = torch.cat(
        [(run.weights[name] - before[name])[run.masks[name] & ~run.method.crossed[name]] for name in before]
    )
    assert moves.std().item() == pytest.approx(0.01, rel=0.25)


def test_a_connection_that_returns_at_once_starts_without_momentum(trained):
    run = trained(DeepR, sparsity=0.0, alpha=0.5, noise=0.0).train(3)
    crossed = {name: value.clone() for name, value in run.method.crossed.items()}
    assert any(value.any() for value in crossed.values())
    run.gradients(3)
    run.method.begin_step()
    run.method.change_topology()
    for name, value in crossed.items():
        momentum = run.optimizer.state[run.method.masks.layers[name].parameter]["momentum_buffer"]
        assert run.masks[name].all() and not momentum[value].any()


def test_a_resumed_training_draws_the_same(trained, same):
    first = trained(DeepR, sign="redraw", **NOISY).train(10)
    other = trained(DeepR, sign="redraw", **NOISY)
    other.resume(first)
    for run in (first, other):
        run.optimizer.param_groups[0]["lr"] *= 0.5  # as a schedule does
    assert same(first.train(20), other.train(20))


def test_a_sphere_and_wrong_options_are_refused(trained):
    with pytest.raises(UsageError, match="method deepr drops weights that cross zero"):
        trained(DeepR, optimizer=lambda net: LpSGD(param_groups(net, 1.4), lr=0.05, p=None))
    for options in ({"sign": "none"}, {"scope": "net"}, {"alpha": -1.0}, {"noise": float("inf")}):
        with pytest.raises(UsageError, match=f"method.{next(iter(options))}"):
            trained(DeepR, **options)
