"""LpSS: its drop, grow and threshold rules on two neurons of six weights, then its behaviour in training."""

import copy
import math

import pytest
import torch
from torch import nn

from lpss import LpSGD, LpSGDm, LpSS, LpSSDemo, param_groups, sphere
from lpss.optim.sphere_optimizer import SphereOptimizer

WEIGHT = [[3.0, -0.5, 0.4, 2.0, 0.0, 0.0], [1.0, 1.0, -1.0, 0.0, 0.1, 0.0]]
ACTIVE = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 0]]
# thresholds at zeta_w = .4: .4 x 5.9/4 = .59 and .4 x 3.1/4 = .31, so -.5, .4 and .1 are dropped
KEPT = [[1, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0]]
GRAD = [[9.0, 0.1, 0.2, 9.0, -0.9, 0.8], [9.0, 9.0, 9.0, 0.05, 0.7, -0.2]]


def make(weight=WEIGHT, active=ACTIVE, optimizer=None, method_class=LpSS, sparsity=0.5, at=5, **options):
    """LpSS on one layer with these weights and mask, about to update at step 5 of 20 with zeta_w = .4."""
    net = nn.Linear(6, 2, bias=False)
    optimizer = optimizer(net) if optimizer else torch.optim.SGD(net.parameters(), lr=0.0)
    known = {"zeta_w": 0.4, "drop_schedule": "constant", "begin": 0.0, "end": 1.0, "update_every": 1, "tau": 0.05}
    method = method_class(net, optimizer, sparsity=sparsity, total_steps=20, **known | options)
    method.masks.update("", torch.tensor(active).bool())
    with torch.no_grad():
        net.weight.copy_(torch.tensor(weight))
        if isinstance(optimizer, SphereOptimizer):
            net.weight.copy_(sphere.normalize(net.weight, optimizer.p_of(net.weight)))
    if isinstance(optimizer, LpSGDm):
        optimizer.reset_latent(net.weight)
    method.steps = at
    return net, method


def step(net, method, grad=GRAD):
    net.weight.grad = torch.tensor(grad)
    method.step()


def mask(method):
    return method.masks[""].int().tolist()


def lpsgd_m(net, p=1.5, lr=0.0):
    return LpSGDm(param_groups(net, p, exclude=[]), lr=lr, p=None)


# --- drop -------------------------------------------------------------------------------------------------------


def test_each_neuron_drops_below_its_own_mean():
    net, method = make(zeta_g=0.0)
    step(net, method)
    assert mask(method) == KEPT
    assert torch.equal(net.weight, torch.tensor(WEIGHT) * torch.tensor(KEPT))


@pytest.mark.parametrize("at, zeta_w", [(0, 0.4), (5, 0.4 * (1 + math.sqrt(0.5)) / 2), (10, 0.2), (20, 0.0)])
def test_zeta_w_follows_eq_4(at, zeta_w):
    """zeta_w = alpha / 2 (1 + cos(t pi / T_end))."""
    _, method = make(drop_schedule="cosine", at=at)
    assert method.zeta_w == pytest.approx(zeta_w, abs=1e-15)
    assert make(at=at)[1].zeta_w == 0.4


def test_zeta_w_decides_what_is_dropped():
    # at step 10 the threshold is half: .295 and .155, so only .1 goes
    net, method = make(zeta_g=0.0, drop_schedule="cosine", at=10)
    step(net, method)
    assert mask(method) == [ACTIVE[0], KEPT[1]]


# --- grow -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, grown",
    [
        # dropped 2 and 1, so zeta_g = .95 allows floor(1.9) = 1 and floor(2.85) - 1 = 1
        ({"zeta_g": 0.95}, [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]]),
        ({"zeta_g": 1.0}, [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 0]]),
        ({"zeta_g": 2.0}, [[0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1]]),
        ({"zeta_g": 0.95, "grow_scope": "layer"}, [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]),
        ({"zeta_g": 1.0, "grow_scope": "layer"}, [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 0]]),
        # only positive gradients: .8, .2, .1 over a norm of 12.8 and .7, .05 over one of 15.6
        ({"zeta_g": 1.0, "grow_score": "signed"}, [[0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 1, 0]]),
        ({"zeta_g": 2.0, "grow_score": "signed"}, [[0, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 0]]),
        ({"zeta_g": 0.95, "grow_score": "signed", "grow_scope": "layer"}, [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0]]),
    ],
)
def test_grow(options, grown):
    net, method = make(**options)
    step(net, method)
    assert mask(method) == (torch.tensor(KEPT) + torch.tensor(grown)).tolist()
    # nothing but what was kept or at once regrown has a value
    expected = torch.tensor(WEIGHT) * torch.tensor(mask(method))
    assert torch.equal(net.weight, expected)


def test_signed_growth_weighs_gradients_by_the_norm_of_their_neuron():
    grad = [[100.0, 0.0, 0.0, 0.0, 2.0, 0.0], [1.0, 0.0, 0.0, 0.5, 0.0, 0.0]]  # .5 / 1.1 beats 2 / 100
    for score, grown in (("signed", (1, 3)), ("abs", (0, 4))):
        net, method = make(zeta_g=0.4, grow_score=score, grow_scope="layer")
        step(net, method, grad)
        new = [(j, k) for j in range(2) for k in range(6) if mask(method)[j][k] and not KEPT[j][k]]
        assert new == [grown]


# --- zeta_g -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sparsity, zeta_g, expected",
    [
        (0.75, 0.0, 0.95 * (7 / 12) / 0.75),  # 7 of 12 masked: below what is asked
        (0.5, 0.0, 1.05 * (7 / 12) / 0.5),  # above
        (1 - 5 / 12, 0.0, 1.05),  # just reached
    ],
)
def test_zeta_g_follows_eq_3(sparsity, zeta_g, expected):
    net, method = make(sparsity=sparsity, zeta_g=zeta_g)
    step(net, method)
    assert method.masks.sparsity_weights() == pytest.approx(7 / 12)
    assert method.zeta_g == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rule, sparsity, margin", [("paper", 0.7, -0.1), ("demo", 0.7, 0.1), ("demo", 0.75, -0.1)])
def test_the_demos_zeta_g_switches_earlier(rule, sparsity, margin):
    # 7/12 = .583 is below .7, but not below .7 (1 - .4 / 2) = .56; it is below .75 (1 - .4 / 2) = .6
    net, method = make(sparsity=sparsity, zeta_g=0.0, zeta_rule=rule, tau=0.1)
    step(net, method)
    assert method.zeta_g == pytest.approx((1 + margin) * (7 / 12) / sparsity, rel=1e-9)


def test_zeta_g_of_a_dense_request_regrows_all():
    _, method = make(sparsity=0.0)
    assert method._next_zeta_g(0.5) == 1.05


def test_the_first_zeta_g_is_the_options():
    assert make(zeta_g=0.7)[1].zeta_g == 0.7


# --- grow_init --------------------------------------------------------------------------------------------------


def test_zero_start_on_the_sphere():
    net, method = make(optimizer=lpsgd_m, zeta_g=1.0)
    step(net, method)
    v = method.optimizer.latent(net.weight)
    assert mask(method) == [[1, 0, 0, 1, 1, 1], [1, 1, 1, 0, 1, 0]]
    assert not net.weight[0, 4:].any() and not v[0, 4:].any()
    on = torch.tensor(WEIGHT) * torch.tensor(mask(method))
    torch.testing.assert_close(net.weight.data, sphere.normalize(on, 1.5))


@pytest.mark.parametrize("optimizer", [None, lpsgd_m, lambda net: LpSGD(param_groups(net, 1.5, exclude=[]), 0.0, None)])
def test_threshold_start_is_at_the_drop_threshold_against_the_gradient(optimizer):
    net, method = make(optimizer=optimizer, zeta_g=1.0, grow_init="threshold")
    step(net, method)
    # new are (0, 4) with gradient -.9 and (0, 5) with .8; (1, 4) comes back at once, with the value it had
    ratio = net.weight[0] / net.weight[0, 0] * 3
    assert ratio.tolist() == pytest.approx([3, 0, 0, 2, 0.59, -0.59], rel=1e-5)  # the threshold: .4 x 5.9 / 4
    assert (net.weight[1, 4] / net.weight[1, 0]).item() == pytest.approx(0.1, rel=1e-5)
    if optimizer is None:
        assert net.weight[0, 4].item() == pytest.approx(0.59)
    else:
        norms = sphere.row_norm(net.weight.detach(), 1.5)
        assert norms.flatten().tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_grace_protects_what_has_just_grown():
    net, method = make(zeta_g=1.0, grow_init="grace", grace_steps=3)
    step(net, method)  # at step 5: grows (0, 4) and (0, 5), regrows (1, 4)
    first = mask(method)
    assert first == [[1, 0, 0, 1, 1, 1], [1, 1, 1, 0, 1, 0]] and not net.weight[0, 4:].any()
    method.zeta_g = 0.0
    seen = []
    for _ in range(3):  # steps 6, 7, 8
        step(net, method)
        seen.append(mask(method)[0])
        method.zeta_g = 0.0
    assert seen == [first[0], first[0], [1, 0, 0, 1, 0, 0]]
    # zero without grace is dropped at the next update, and a regrown connection is not new
    net, method = make(zeta_g=1.0)
    step(net, method)
    method.zeta_g = 0.0
    step(net, method)
    assert mask(method) == KEPT


def test_grace_does_not_protect_old_connections_and_survives_a_round_trip():
    net, method = make(zeta_g=1.0, grow_init="grace", grace_steps=3)
    step(net, method)
    saved = copy.deepcopy(method.state_dict())
    other_net, other = make(zeta_g=0.3, grow_init="grace", grace_steps=3)
    other_net.load_state_dict(net.state_dict())
    live = method.state_dict()
    other.load_state_dict(live)
    for _ in range(4):
        step(net, method)  # the two share nothing: training one does not touch the other
    assert torch.equal(other.born[""], saved["born"][""]) and torch.equal(live["born"][""], saved["born"][""])
    assert (other.zeta_g, other.steps) == (saved["zeta_g"], saved["steps"])
    for _ in range(4):
        step(other_net, other)
    assert torch.equal(other_net.weight, net.weight) and mask(other) == mask(method)
    assert torch.equal(other.born[""], method.born[""]) and other.zeta_g == method.zeta_g


def test_stale_start_comes_back_with_the_unmasked_v():
    values = {}
    for grow_init in ("stale", "zero"):
        net, method = make(optimizer=lpsgd_m, zeta_g=0.0, grow_init=grow_init)
        v = method.optimizer.latent(net.weight)
        with torch.no_grad():
            full = torch.tensor(WEIGHT)
            full[0, 4] = 0.25 if grow_init == "stale" else 0.0  # off the mask, where `zero` has no v
            v.copy_(sphere.normalize(sphere.signed_power(full, 0.5), 3.0))
            net.weight.copy_(sphere.normalize(full, 1.5))
        method.masks.apply_to_weights()
        step(net, method)
        assert mask(method) == KEPT and not net.weight[method.masks[""] == 0].any()
        assert bool((v[0, 1:3] != 0).any()) == (grow_init == "stale")
        method.zeta_g = 1.0
        with torch.no_grad():
            net.weight[0, 3] = 0.001  # let one be dropped, so that one grows
        method.masks.note_weights()  # as if training had made it so
        step(net, method, [[0.0, 0, 0, 0, 5, 0], [0.0] * 6])
        assert mask(method)[0] == [1, 0, 0, 0, 1, 0]
        values[grow_init] = net.weight[0, 4].item()
    assert values["zero"] == 0.0
    full[0, 4] = 0.25
    assert values["stale"] == pytest.approx(sphere.normalize(full, 1.5)[0, 4].item(), rel=1e-5)


def test_stale_weights_are_masked_after_every_step_and_not_on_the_sphere():
    net, method = make(optimizer=lambda net: lpsgd_m(net, lr=0.1), grow_init="stale", update_every=3, zeta_g=0.5)
    torch.manual_seed(0)
    with torch.no_grad():
        method.optimizer.latent(net.weight).copy_(sphere.normalize(torch.randn(2, 6), 3.0))
    for _ in range(8):
        step(net, method, torch.randn(2, 6).tolist())
        assert not net.weight[method.masks[""] == 0].any()
    assert (sphere.row_norm(net.weight.detach(), 1.5) < 0.999).all()


# --- revive -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revive, expected", [(False, [0] * 6), (True, [1] * 6)])
def test_revive_makes_an_empty_neuron_dense_again(revive, expected):
    net, method = make(active=[[0] * 6, ACTIVE[1]], weight=[[0.0] * 6, WEIGHT[1]], revive=revive)
    step(net, method)
    assert mask(method)[0] == expected


def test_layer_scope_may_grow_into_an_empty_neuron():
    net, method = make(active=[[0] * 6, ACTIVE[1]], weight=[[0.0] * 6, WEIGHT[1]], zeta_g=1.0, grow_scope="layer")
    step(net, method)
    assert mask(method) == [[1, 0, 0, 0, 0, 0], KEPT[1]]


# --- the demo's preset ------------------------------------------------------------------------------------------


def test_the_demos_choices():
    net = nn.Linear(6, 2, bias=False)
    config = LpSSDemo(net, lpsgd_m(net), sparsity=0.5, total_steps=10).config
    chosen = (config.tau, config.zeta_rule, config.grow_score, config.grow_scope, config.grow_init, config.revive)
    assert chosen == (0.1, "demo", "signed", "layer", "stale", True) and config.update_every == 40


# --- in training ------------------------------------------------------------------------------------------------


def train(method_class, *, sparsity, steps, p, seed=0, **options):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = LpSGDm(param_groups(net, p, lr_free=0.05), lr=0.02, p=None)
    known = {"zeta_w": 0.2, "start_sparsity": 0.2, "begin": 0.2, "end": 0.8}
    method = method_class(net, optimizer, sparsity=sparsity, total_steps=steps, **known | options)
    generator = torch.Generator().manual_seed(1)
    centers = 2 * torch.randn(4, 20, generator=generator)
    history = []
    for _ in range(steps):
        y = torch.randint(4, (32,), generator=generator)
        x = centers[y] + torch.randn(32, 20, generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        method.step()
        history.append(method.masks.sparsity_weights())
    accuracy = (net(x).argmax(1) == y).float().mean().item()
    return net, method, history, accuracy


@pytest.mark.parametrize("sparsity, p", [(0.5, 1.3), (0.8, 1.1)])
def test_lpss_settles_at_the_requested_sparsity(sparsity, p):
    net, method, history, accuracy = train(LpSS, sparsity=sparsity, steps=600, p=p)
    assert history[0] == pytest.approx(0.2, abs=0.001)
    assert history[-1] == pytest.approx(sparsity, abs=0.02)
    assert accuracy > 0.9
    for layer in (net[0], net[2]):
        assert ((layer.weight.detach().abs().pow(p).sum(1).pow(1 / p) - 1).abs() < 1e-5).all()


@pytest.mark.parametrize("zeta_rule, tau, settled", [("paper", 0.05, 0.8), ("demo", 0.1, 0.8 / 1.1)])
def test_where_each_rule_settles(zeta_rule, tau, settled):
    """The paper's rule on s; the demo's on s max(1 - zeta_w / 2, 1 / (1 + tau)), where zeta_w stays .2."""
    options = {"drop_schedule": "constant", "zeta_rule": zeta_rule, "tau": tau, "exact_finish": False}
    history = train(LpSS, sparsity=0.8, steps=600, p=1.1, **options)[2]
    assert history[-1] == pytest.approx(settled, abs=0.015)


def test_the_demo_preset_trains():
    net, method, history, accuracy = train(LpSSDemo, sparsity=0.8, steps=600, p=1.1, update_every=4)
    assert history[-1] == pytest.approx(0.8, abs=0.03) and accuracy > 0.9


@pytest.mark.parametrize("start_sparsity", [0.2, 0.79])
@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_an_exact_finish_ends_on_the_requested_sparsity_to_the_weight(sparsity, start_sparsity):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 5))
    optimizer = LpSGDm(param_groups(net, 1.25, lr_free=0.05), lr=0.05, p=None)
    options = {"update_every": 7, "exact_finish": True, "start_sparsity": min(start_sparsity, sparsity)}
    method = LpSS(net, optimizer, sparsity=sparsity, total_steps=100, **options)
    for step in range(100):
        optimizer.zero_grad()
        x = torch.randn(16, 40)
        nn.functional.cross_entropy(net(x), x[:, :5].argmax(1)).backward()
        method.step()
        assert (method.sparsity_before_finish() is None) == (step < method.window.last_update)
        if step >= method.window.last_update:
            assert 0.3 < method.sparsity_before_finish() < 1
            assert sum(method.masks.active().values()) == round((1 - sparsity) * (40 * 30 + 30 * 5))
    norms = sphere.row_norm(net[0].weight.detach(), 1.25)
    alive = method.masks["0"].any(1)
    torch.testing.assert_close(norms[alive], torch.ones_like(norms[alive]), rtol=1e-5, atol=1e-5)


def test_an_exact_finish_drops_what_is_smallest_relative_to_its_neuron():
    net = nn.Linear(4, 2)
    net.weight.data = torch.tensor([[8.0, 4.0, 2.0, 2.0], [0.4, 0.3, 0.02, 0.01]])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    options = {"start_sparsity": 0.0, "zeta_w": 1e-9, "exact_finish": True, "update_every": 1, "begin": 0.0, "end": 0.5}
    method = LpSS(net, optimizer, sparsity=0.25, total_steps=4, **options)
    for _ in range(2):
        net.weight.grad = torch.zeros(2, 4)
        method.step()
    # the neurons' means are 4 and .1825: 2 / 4 is more than .02 / .1825
    assert method.masks[""].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


@pytest.mark.parametrize("p", [1.3, 1.5, 2.0])
def test_where_training_rests_the_sensitivity_is_weight_times_gradient(p):
    """min <a, w> on the sphere: at rest |w g| = |multiplier| |w|^p, weight by weight."""
    net, target = nn.Linear(3, 2, bias=False), torch.tensor([[1.0, -1.2, 0.8], [-0.7, 0.9, 0.6]])
    optimizer = LpSGDm(param_groups(net, p, exclude=()), lr=0.02, p=None, momentum=0.0)
    options = {"start_sparsity": 0.0, "zeta_w": 1e-9, "update_every": 10, "begin": 0.0, "end": 1.0}
    method = LpSS(net, optimizer, sparsity=0.5, total_steps=4000, finish_score="sensitivity", **options)
    for _ in range(3900):
        net.weight.grad = target.clone()
        method.step()
    assert method.masks[""].all()
    expected = (net.weight.detach() * target).abs()
    torch.testing.assert_close(method._sensitivity(""), expected, rtol=0.02, atol=0.01)


def test_a_finish_by_sensitivity_empties_neurons_that_do_not_matter():
    """Of two neurons with the same weights the one goes whose gradients are ten times smaller."""
    net = nn.Linear(4, 2)
    net.weight.data = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    options = {"start_sparsity": 0.0, "zeta_w": 1e-9, "update_every": 1, "begin": 0.0, "end": 0.5}
    method = LpSS(net, optimizer, sparsity=0.5, total_steps=4, finish_score="sensitivity", **options)
    for _ in range(2):
        net.weight.grad = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.02, -0.03, 0.01, -0.02]])
        method.step()
    # The neurons' sensitivities are 10 and .21. Off spheres p is 2, so that the first one's smallest is 10 / 30.
    assert method.masks[""].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_a_cubic_pace_keeps_up_with_gmps_schedule():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 5))
    optimizer = LpSGDm(param_groups(net, 2.0, lr_free=0.05), lr=0.05, p=None)
    options = {"update_every": 5, "start_sparsity": 0.2, "begin": 0.1, "end": 0.9, "zeta_w": 1e-9, "pace": "cubic"}
    method = LpSS(net, optimizer, sparsity=0.9, total_steps=100, **options)
    reached = []
    for step in range(100):
        optimizer.zero_grad()
        x = torch.randn(16, 40)
        nn.functional.cross_entropy(net(x), x[:, :5].argmax(1)).backward()
        method.step()
        reached.append(method.masks.masked_share())
        if method.window.should_update(step):
            part = (step - 10) / 75  # the last update is that of step 85
            assert reached[-1] == pytest.approx(0.9 - 0.7 * (1 - part) ** 3, abs=1e-3)
    assert reached == sorted(reached) and reached[0] == pytest.approx(0.2, abs=1e-3)
