"""Soft-DeepR: what sleeps walks below zero and wakes above it, and the density that follows."""

import pytest
import torch

from lpss import LpSGD, SoftDeepR, param_groups
from lpss.errors import UsageError

LIVELY = {"noise": 1.0, "alpha": 0.1}


def plain(net):
    return torch.optim.SGD(net.parameters(), lr=0.05)


def test_dormant_connections_walk_between_the_lowest_theta_and_zero_and_wake_by_themselves(trained):
    run = trained(SoftDeepR, optimizer=plain, exact_finish=False, **LIVELY)
    woken = 0
    for _ in range(39):
        before, thetas = run.masks, {name: theta.clone() for name, theta in run.method.thetas.items()}
        crossed = {name: value.clone() for name, value in run.method.crossed.items()}
        updates = run.method.should_update()
        run.train(1)
        for name, theta in run.method.thetas.items():
            mask = run.masks[name]
            assert (theta >= run.method.lowest[name]).all() and not theta[mask & ~run.method.crossed[name]].any()
            if updates:  # who came above zero in the last step, and nobody else
                assert torch.equal(mask, (before[name] & ~crossed[name]) | (thetas[name] > 0))
                woken += int((mask & ~before[name]).sum())
            assert not (run.weights[name] * run.method.signs[name] < 0).any()
            assert not run.weights[name][~mask].any()
    assert woken > 20


def test_the_density_stays_near_the_expected_one_where_the_loss_is_flat(trained):
    """Theta's stationary distribution: exponential above 0 with scale T / alpha, uniform below, down to theta_min."""
    run = trained(SoftDeepR, sparsity=0.7, steps=20_000, optimizer=plain, noise=2.0, alpha=0.1, exact_finish=False)
    for layer in run.method.masks.layers.values():
        layer.parameter.grad = torch.zeros_like(layer.parameter)
    shares = []
    for _ in range(4000):
        run.method.step()
        if run.method.steps > 1500:
            active = sum(run.method.masks.active().values())
            shares.append(active / run.method.masks.maskable)
    assert sum(shares) / len(shares) == pytest.approx(0.3, abs=0.03)


def test_the_last_update_keeps_the_largest_thetas_as_many_as_are_asked_for(trained):
    run = trained(SoftDeepR, optimizer=plain, **LIVELY).train(40)
    assert run.method.masks.active() == run.method.layer_counts(0.6, "uniform")
    assert run.method.sparsity_before_finish() != pytest.approx(0.6, abs=1e-3)
    free = trained(SoftDeepR, optimizer=plain, exact_finish=False, **LIVELY).train(40)
    assert free.method.sparsity_before_finish() == run.method.sparsity_before_finish()
    assert 1 - sum(free.method.masks.active().values()) / free.method.masks.maskable == pytest.approx(
        free.method.sparsity_before_finish()
    )


def test_a_resumed_training_draws_the_same(trained, same):
    first = trained(SoftDeepR, optimizer=plain, **LIVELY).train(10)
    other = trained(SoftDeepR, optimizer=plain, **LIVELY)
    other.resume(first)
    for run in (first, other):
        run.optimizer.param_groups[0]["lr"] *= 0.5  # as a schedule does
    assert same(first.train(20), other.train(20))


def test_a_sphere_and_wrong_options_are_refused(trained):
    with pytest.raises(UsageError, match="method soft_deepr drops weights that cross zero"):
        trained(SoftDeepR, optimizer=lambda net: LpSGD(param_groups(net, 1.4), lr=0.05, p=None))
    for options in ({"alpha": 0.0}, {"noise": 0.0}, {"noise": float("inf")}):
        with pytest.raises(UsageError, match=f"method.{next(iter(options))}"):
            trained(SoftDeepR, **options)
