"""IMP: rounds of training, pruning and rewinding."""

import pytest
import torch

import lpss
from lpss import IMP, LpSGDm, param_groups
from lpss.errors import UsageError


def test_every_round_begins_where_the_first_did_with_the_largest_weights_of_the_round_before(trained):
    run = trained(IMP, steps=40, sparsity=0.75, rounds=3)
    begun, shares = run.weights, []
    for number in range(1, 4):
        run.train(10)
        before, masks = run.weights, run.masks
        run.train(1)
        shares.append(run.method.masks.masked_share())
        for name, weight in run.weights.items():
            assert torch.equal(weight, begun[name] * run.masks[name])
            assert (run.masks[name] <= masks[name]).all()
        kept = torch.cat([before[name][mask].abs() for name, mask in run.masks.items()])
        gone = torch.cat([before[name][masks[name] & ~mask].abs() for name, mask in run.masks.items()])
        assert kept.min() >= gone.max()
        assert not any(state["momentum_buffer"].any() for state in run.optimizer.state.values())
        run.method.steps = 10 * number  # the step that prunes does not move weights: count it as none here
    assert shares == pytest.approx([1 - 0.25 ** (number / 3) for number in (1, 2, 3)], abs=1e-3)


def test_rewinding_to_later_weights(trained):
    run = trained(IMP, steps=40, sparsity=0.5, rounds=1, rewind=0.25).train(5)
    later, biases = run.weights, run.net[0].bias.detach().clone()
    run.train(16)
    assert all(torch.equal(weight, later[name] * run.masks[name]) for name, weight in run.weights.items())
    assert torch.equal(run.net[0].bias.detach(), biases)


@pytest.mark.parametrize("sparsity, prunings", [(0.0, 0), (0.1, 1), (0.2, 1), (0.5, 3), (0.9, 10), (0.99, 21)])
def test_the_number_of_rounds_follows_from_the_sparsity(trained, sparsity, prunings):
    assert IMP.trainings({}, sparsity) == prunings + 1
    run = trained(IMP, steps=25, sparsity=sparsity).train(25)
    assert run.method.masks.masked_share() == pytest.approx(sparsity, abs=1e-3)


def test_the_schedule_begins_anew_with_each_round_and_the_last_takes_what_is_left_over(trained):
    method = trained(IMP, steps=11, sparsity=0.5, rounds=2).method
    assert [method.schedule_progress(step) for step in range(11)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 0, 1 / 3, 2 / 3, 0, 0.2, 0.4, 0.6, 0.8]
    )


def test_weights_on_the_sphere_go_back_to_it(trained):
    run = trained(
        IMP, sparsity=0.5, rounds=3, optimizer=lambda net: LpSGDm(param_groups(net, 1.4), lr=0.05, p=None)
    ).train(11)
    norms = run.weights["0"].abs().pow(1.4).sum(1).pow(1 / 1.4)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    before = run.weights
    run.train(3)
    v = run.optimizer.latent(run.net[0].weight)
    assert not torch.equal(before["0"], run.weights["0"]) and torch.isfinite(v).all()


def test_a_resumed_run_rewinds_to_the_same(trained, same):
    first = trained(IMP, sparsity=0.5, rounds=3, rewind=0.3).train(15)
    other = trained(IMP, sparsity=0.5, rounds=3, rewind=0.3)
    other.resume(first)
    assert same(first.train(25), other.train(25))


def test_an_accelerated_net_is_rewound_too(trained):
    plain, fast = (trained(IMP, sparsity=0.5, rounds=3) for _ in range(2))
    lpss.accelerate(fast.net, fast.method)
    plain.train(31), fast.train(31)
    for name, weight in fast.weights.items():
        assert torch.equal(fast.masks[name], plain.masks[name])
        torch.testing.assert_close(weight, plain.weights[name])


def test_too_few_steps_and_wrong_options_are_named(trained):
    with pytest.raises(UsageError, match="3 steps are too few for 11 rounds"):
        trained(IMP, steps=3, sparsity=0.9)
    for options in ({"rounds": -1}, {"rewind": 1.0}, {"scope": "net"}):
        with pytest.raises(UsageError, match=f"method.{next(iter(options))}"):
            trained(IMP, **options)
