"""DSR: an adaptive threshold, and regrowth in proportion to what layers have left."""

import pytest
import torch

from lpss import DSR, LpSGDm, param_groups
from lpss.errors import UsageError

ALWAYS = {"update_every": 1, "begin": 0.0, "end": 1.0}


def test_the_total_is_constant_while_layers_change(trained):
    run = trained(DSR, threshold=0.01, moved_fraction=0.05, **ALWAYS)
    first, totals = run.method.masks.active(), set()
    run.train(30, lambda run: totals.add(sum(run.method.masks.active().values())))
    assert totals == {sum(first.values())} and run.method.masks.active() != first


@pytest.mark.parametrize("dropped, factor", [(0, 2), (89, 2), (90, 1), (110, 1), (111, 0.5), (500, 0.5)])
def test_the_threshold_doubles_and_halves(trained, dropped, factor):
    method = trained(DSR, sparsity=0.2, threshold=0.25, moved_fraction=100 / 608).method
    assert method.masks.maskable == 608
    method._adapt(dropped)
    assert method.threshold == 0.25 * factor


@pytest.mark.parametrize("dropped, factor", [(16, 2), (18, 1), (21, 0.5)])
def test_a_very_sparse_net_is_not_to_move_all_that_it_has(trained, dropped, factor):
    method = trained(DSR, sparsity=0.9, threshold=0.25, moved_fraction=0.2).method
    method._adapt(dropped)  # .3 of the tenth of 608 that is active: 18
    assert method.threshold == 0.25 * factor


def test_weights_below_the_threshold_go_and_free_places_take_as_many_in_proportion(trained):
    run = trained(DSR, threshold=0.08, moved_fraction=0.3, **ALWAYS).train(1)
    threshold, before, weights = run.method.threshold, run.masks, run.weights
    run.train(1)
    dropped = sum(int((before[name] & (weights[name].abs() < threshold)).sum()) for name in before)
    assert dropped > 20
    left = {name: int((before[name] & (weights[name].abs() >= threshold)).sum()) for name in before}
    for name, mask in run.masks.items():
        new = mask & ~before[name]
        assert int(new.sum()) == pytest.approx(dropped * left[name] / sum(left.values()), abs=1)
        assert not (mask & before[name] & (weights[name].abs() < threshold)).any()  # none comes back at once


def test_every_layer_keeps_a_weight_whatever_the_threshold(trained):
    run = trained(DSR, threshold=1e6, **ALWAYS).train(3)
    assert min(run.method.masks.active().values()) >= 1


def test_a_nearly_dense_net_takes_back_what_it_has_just_dropped(trained):
    run = trained(DSR, sparsity=0.05, threshold=0.1, moved_fraction=0.4, **ALWAYS)
    total = sum(run.method.masks.active().values())
    run.train(5)
    assert sum(run.method.masks.active().values()) == total


def test_the_threshold_is_a_part_of_its_state(trained, same):
    first = trained(DSR, threshold=0.01, **ALWAYS).train(10)
    other = trained(DSR, threshold=0.01, **ALWAYS)
    other.resume(first)
    assert other.method.threshold == first.method.threshold != 0.01
    assert same(first.train(10), other.train(10))


def test_a_sphere_is_refused(trained):
    with pytest.raises(
        UsageError, match="method dsr compares magnitudes of all layers: it cannot train 0, 2 on an L_p"
    ):
        trained(DSR, optimizer=lambda net: LpSGDm(param_groups(net, 1.4), lr=0.05, p=None))
    net_off = lambda net: LpSGDm(param_groups(net, None), lr=0.05, p=None)  # noqa: E731
    assert torch.isfinite(trained(DSR, optimizer=net_off).train(3).net[0].weight).all()
