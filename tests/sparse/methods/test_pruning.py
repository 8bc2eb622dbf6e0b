"""Methods that prune gradually: global GMP, SDR, GraNet, AC/DC."""

import pytest
import torch

from lpss import ACDC, GMP, SDR, GraNet, LpSGDm, RigL, param_groups
from lpss.errors import UsageError
from lpss.sparse.methods.gmp import SCHEDULES

OFTEN = {"update_every": 4}


def active(run):
    return sum(run.method.masks.active().values())


# --- GMP --------------------------------------------------------------------------------------------------------


def test_global_pruning_keeps_the_largest_of_all_layers(trained):
    run = trained(GMP, scope="global", **OFTEN).train(40)
    assert active(run) == round(0.4 * 608) and not run.method.keeps_layer_counts
    densities = {name: mask.float().mean().item() for name, mask in run.masks.items()}
    assert max(densities.values()) - min(densities.values()) > 0.05


def test_at_an_update_no_dropped_weight_is_larger_than_one_that_stays(trained):
    run = trained(GMP, scope="global", **OFTEN).train(12)
    before, weights = run.masks, run.weights
    run.train(1)
    gone = torch.cat([weights[name][before[name] & ~mask].abs() for name, mask in run.masks.items()])
    stays = torch.cat([weights[name][mask].abs() for name, mask in run.masks.items()])
    assert len(gone) and gone.max() <= stays.min()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_rises_from_none_to_all(trained, schedule):
    run, seen = trained(GMP, schedule=schedule, **OFTEN), []
    run.train(40, lambda run: seen.append(run.method.masks.masked_share()))
    assert seen == sorted(seen) and active(run) == round(0.4 * 608)
    assert (len(set(seen)) == 2) == (schedule == "once")
    assert SCHEDULES[schedule](1.0) == pytest.approx(1.0)


def test_one_shot_is_one_pruning(trained):
    run = trained(GMP, schedule="once", begin=0.5, **OFTEN).train(20)
    assert active(run) == 608
    assert active(run.train(1)) == round(0.4 * 608)


def test_wrong_scopes_and_schedules_are_named(trained):
    for options in ({"scope": "net"}, {"schedule": "square"}):
        with pytest.raises(UsageError, match=f"method.{next(iter(options))} must be one of"):
            trained(GMP, **options)


# --- SDR --------------------------------------------------------------------------------------------------------


def test_sdr_without_shrinkage_is_global_gmp_bit_by_bit(trained, same):
    assert same(trained(SDR, shrinkage=0.0, **OFTEN).train(40), trained(GMP, scope="global", **OFTEN).train(40))


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.0)


@pytest.mark.parametrize("gradient, factor", [(0.0, 0.9), (0.25, 0.925), (-0.5, 0.95), (1.0, 1.0), (-3.0, 1.0)])
def test_weights_shrink_by_what_the_loss_does_not_react_to(trained, gradient, factor):
    run = trained(SDR, shrinkage=0.1, optimizer=sgd)
    before = run.weights
    for layer in run.method.masks.layers.values():
        layer.parameter.grad = torch.full_like(layer.parameter, gradient)
    run.method.step()
    for name, weight in run.weights.items():
        torch.testing.assert_close(weight, before[name] * factor)


@pytest.mark.parametrize("sensitivity", ["output", "target"])
def test_the_sensitivity_of_outputs_is_the_closed_form_of_a_linear_net(trained, sensitivity):
    net = torch.nn.Linear(12, 3, bias=False)
    run = trained(SDR, net=net, sensitivity=sensitivity, shrinkage=0.1, optimizer=sgd)
    x, y = run.batch(0)
    run.gradients(0)
    (found,) = run.method.sensitivity
    if sensitivity == "output":
        expected = x.mean(0).abs().expand(3, -1) / 3  # d y_k / d w_kj = x_j, for one class of three
    else:
        expected = torch.stack([x[y == label].sum(0) / len(x) for label in range(3)]).abs()
    torch.testing.assert_close(found, expected)
    before = run.weights
    run.method.step()
    torch.testing.assert_close(run.weights[""], before[""] * (1 - 0.1 * (1 - expected).clamp(min=0)))


def test_sdr_leaves_the_loss_gradients_alone(trained):
    plain, run = trained(GMP), trained(SDR, sensitivity="output", shrinkage=0.1)
    plain.gradients(0)
    run.gradients(0)
    for a, b in zip(plain.net.parameters(), run.net.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_sdr_refuses_spheres_and_wrong_options(trained):
    with pytest.raises(UsageError, match="method sdr shrinks weights"):
        trained(SDR, optimizer=lambda net: LpSGDm(param_groups(net, 1.4), lr=0.05, p=None))
    for options in ({"sensitivity": "input"}, {"shrinkage": 1.5}):
        with pytest.raises(UsageError, match=f"method.{next(iter(options))}"):
            trained(SDR, **options)


# --- GraNet -----------------------------------------------------------------------------------------------------


def test_granet_that_only_prunes_from_dense_is_global_gmp_bit_by_bit(trained, same):
    options = {"start_sparsity": 0.0, "drop_fraction": 0.0, "prune_end": 0.75, "distribution": "uniform"}
    assert same(trained(GraNet, **options, **OFTEN).train(40), trained(GMP, scope="global", **OFTEN).train(40))


def test_granet_that_only_regrows_has_the_masks_of_rigl(trained):
    options = {"distribution": "erk", "drop_fraction": 0.3, "end": 0.75, "seed": 3} | OFTEN
    run = trained(GraNet, start_sparsity=0.6, prune_end=0.5, **options)
    rigl = trained(RigL, **options)
    assert all(torch.equal(mask, rigl.masks[name]) for name, mask in run.masks.items())
    run.train(4), rigl.train(4)
    assert all(torch.equal(weight, rigl.weights[name]) for name, weight in run.weights.items())
    run.train(1), rigl.train(1)
    assert all(torch.equal(mask, rigl.masks[name]) for name, mask in run.masks.items())


def test_granet_reaches_the_sparsity_at_prune_end_and_goes_on_changing_masks(trained):
    run = trained(GraNet, sparsity=0.8, **OFTEN)
    assert run.method.masks.masked_share() == pytest.approx(0.5, abs=1e-3)
    run.train(28)
    assert active(run) == round(0.2 * 608)
    masks = run.masks
    run.train(12)
    assert active(run) == round(0.2 * 608)
    assert any(not torch.equal(mask, masks[name]) for name, mask in run.masks.items())


def test_granet_starts_no_sparser_than_it_is_to_end(trained):
    assert trained(GraNet, sparsity=0.3, start_sparsity=0.5).method.masks.masked_share() == pytest.approx(0.3, abs=1e-3)


# --- AC/DC ------------------------------------------------------------------------------------------------------


def test_the_phases_of_acdc_are_those_of_the_reference_on_cifar(trained):
    borders = trained(ACDC, steps=200).method.borders
    assert [step for step, compressed in borders.items() if compressed] == [10, 50, 90, 130, 170]
    assert [step for step, compressed in borders.items() if not compressed] == [30, 70, 110, 150]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 40])
@pytest.mark.parametrize("options", [{}, {"phase": 0.3}, {"warmup": 0.5, "last": 0.5}, {"last": 0.2}, {"phase": 1.0}])
def test_acdc_ends_compressed_however_short_the_run(trained, steps, options):
    run = trained(ACDC, steps=steps, **options).train(steps)
    assert active(run) == round(0.4 * 608)


def test_masks_are_fixed_within_a_phase_and_weights_return_at_zero(trained):
    run, shares = trained(ACDC, steps=200), []
    before = run.masks

    def check(run):
        nonlocal before
        step = run.method.steps - 1
        if step not in run.method.borders:
            assert all(torch.equal(mask, before[name]) for name, mask in run.masks.items())
        before = run.masks
        shares.append(run.method.masks.masked_share())

    run.train(200, check)
    assert shares[5] == 0 and shares[15] == pytest.approx(0.6, abs=1e-3) and shares[35] == 0 and shares[-1] > 0.59

    run = trained(ACDC, steps=200).train(30)
    off = {name: ~mask for name, mask in run.masks.items()}
    run.gradients(30)
    run.method.begin_step()
    run.method.change_topology()
    assert all(mask.all() for mask in run.masks.values())
    assert not any(run.weights[name][places].any() for name, places in off.items())
    assert not any(state["momentum_buffer"].any() for state in run.optimizer.state.values())


def test_momentum_may_stay_and_a_latent_v_always_does(trained):
    run = trained(ACDC, steps=200, reset_momentum=False).train(30)
    run.gradients(30)
    run.method.begin_step()
    run.method.change_topology()
    assert any(state["momentum_buffer"].any() for state in run.optimizer.state.values())

    run = trained(ACDC, steps=200, optimizer=lambda net: LpSGDm(param_groups(net, 1.4), lr=0.05, p=None)).train(30)
    before = run.weights
    run.gradients(30)
    run.method.begin_step()
    run.method.change_topology()
    for name, weight in run.weights.items():
        torch.testing.assert_close(weight, before[name])
    run.train(5)
    norms = run.weights["0"].abs().pow(1.4).sum(1).pow(1 / 1.4)
    torch.testing.assert_close(norms, torch.ones_like(norms))
