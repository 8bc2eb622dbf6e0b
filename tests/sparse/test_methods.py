"""Static, SET, RigL, SNIP and what methods share, on one layer of eight weights that can be checked by eye."""

import logging

import pytest
import torch
from torch import nn

from lpss import GMP, SET, SNIP, Dense, LpSGDm, LpSS, RigL, SNIPDynamic, Static, param_groups, sphere
from lpss.errors import UsageError
from lpss.sparse.methods import METHODS
from lpss.sparse.methods.set import DropGrow
from lpss.sparse.window import Window

WEIGHT = [[4.0, -3.0, 0.2, 5.0], [1.0, -0.1, 2.0, 6.0]]
GRAD = [[9.0, 9.0, 0.5, -3.0], [-2.0, 0.1, 0.2, 0.3]]
ACTIVE = [[1, 1, 0, 0], [1, 1, 0, 0]]


def layer(weight=WEIGHT, lr=0.0, **options):
    """A net of one layer with these weights, and torch's SGD on it."""
    net = nn.Linear(len(weight[0]), len(weight), bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(weight))
    return net, torch.optim.SGD(net.parameters(), lr=lr, **options)


def with_mask(method_class, active, weight=WEIGHT, *, sparsity=0.5, lr=0.0, **options):
    """A method on `layer(weight)` whose mask is `active`."""
    net, optimizer = layer(weight, lr)
    method = method_class(net, optimizer, sparsity=sparsity, total_steps=20, **options)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(weight))
    method.set_mask("", torch.ones_like(net.weight).bool())
    with torch.no_grad():
        net.weight.copy_(torch.tensor(weight))
    method.set_mask("", torch.tensor(active).bool())
    return net, method


def step(net, method, grad, at=None):
    if at is not None:
        method.steps = at
    net.weight.grad = torch.tensor(grad)
    method.step()


def mask(method):
    return method.masks[""].int().tolist()


ALWAYS = {"begin": 0.0, "end": 1.0, "update_every": 1, "drop_schedule": "constant"}


# --- Dense, Static ----------------------------------------------------------------------------------------------


def test_dense_masks_nothing_whatever_sparsity_is_asked_for():
    net, optimizer = layer(lr=1.0)
    method = Dense(net, optimizer, sparsity=0.9, total_steps=10)
    step(net, method, GRAD)
    assert mask(method) == [[1] * 4] * 2 and method.sparsity == 0.0 and not method.dense_backward
    torch.testing.assert_close(net.weight.data, torch.tensor(WEIGHT) - torch.tensor(GRAD))


def test_static_keeps_one_random_mask():
    net, optimizer = layer(lr=1.0)
    method = Static(net, optimizer, sparsity=0.75, total_steps=10, seed=3)
    first = mask(method)
    assert sum(map(sum, first)) == 2
    for _ in range(10):
        assert not method.should_update() and not method.dense_backward
        step(net, method, GRAD)
    assert mask(method) == first and method.steps == 10
    expected = (torch.tensor(WEIGHT) - 10 * torch.tensor(GRAD)) * torch.tensor(first)
    torch.testing.assert_close(net.weight.data, expected)


def test_the_seed_decides_the_mask():
    masks = []
    for seed, noise in ((1, 1), (1, 2), (2, 1)):
        torch.manual_seed(noise)
        net = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 5))
        masks.append(Static(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.5, total_steps=1, seed=seed))
    assert torch.equal(masks[0].masks["0"], masks[1].masks["0"])
    assert not torch.equal(masks[0].masks["0"], masks[2].masks["0"])


@pytest.mark.parametrize("distribution, counts", [("uniform", {"0": 8, "1": 2}), ("er", {"0": 6, "1": 4})])
def test_layer_densities_follow_the_distribution(distribution, counts):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))  # er: 10 x 8/13 = 6.15 and 10 x 5/13 = 3.85
    method = Static(
        net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.5, total_steps=1, distribution=distribution
    )
    assert method.masks.active() == counts
    assert method.requested_density() == {"0": counts["0"] / 16, "1": counts["1"] / 4}


# --- SET --------------------------------------------------------------------------------------------------------


def test_set_drops_the_smallest_and_grows_at_random():
    grown = set()
    for seed in range(30):
        net, method = with_mask(SET, ACTIVE, seed=seed, drop_fraction=0.5, **ALWAYS)
        step(net, method, GRAD, at=1)
        now = mask(method)
        assert sum(map(sum, now)) == 4
        assert now[0][:2] == [1, 1]  # 4 and -3 stay; 1 and -0.1 go, unless grown again, and then they keep their value
        new = tuple((j, k) for j in range(2) for k in range(4) if now[j][k] and (j, k) not in ((0, 0), (0, 1)))
        grown.update(new)
        for j, k in new:
            assert net.weight[j, k].item() == pytest.approx({(1, 0): 1.0, (1, 1): -0.1}.get((j, k), 0.0))
    assert grown == {(0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)}


def test_set_knows_no_gradient_of_connections_that_are_not_active():
    for seed in range(10):
        net, method = with_mask(SET, ACTIVE, seed=seed, drop_fraction=0.5, lr=1.0, **ALWAYS)
        step(net, method, GRAD, at=1)
        now = mask(method)
        new = [(j, k) for j in range(2) for k in range(4) if now[j][k] and not ACTIVE[j][k]]
        assert all(net.weight[j, k] == 0 for j, k in new)
        assert net.weight[0, 0].item() == pytest.approx(WEIGHT[0][0] - GRAD[0][0])  # others move as ever


@pytest.mark.parametrize("at, changed", [(1, 1), (9, 1), (11, 0)])
def test_the_drop_fraction_follows_the_cosine(at, changed):
    # fraction .5 x 4 weights x (1 + cos(pi at / 20)) / 2 = 1.99, 1.16, 0.84, of which the whole part
    net, method = with_mask(RigL, ACTIVE, drop_fraction=0.5, **{**ALWAYS, "drop_schedule": "cosine"})
    step(net, method, [[0.0, 0, 8, 9], [0, 0, 7, 6]], at=at)
    kept = sum(mask(method)[j][k] for j in range(2) for k in range(2))
    assert 4 - kept == changed


def test_a_dense_layer_is_left_alone():
    net, method = with_mask(SET, [[1] * 4] * 2, sparsity=0.0, drop_fraction=0.5, **ALWAYS)
    step(net, method, GRAD, at=1)
    assert mask(method) == [[1] * 4] * 2 and net.weight.tolist() == torch.tensor(WEIGHT).tolist()


# --- RigL -------------------------------------------------------------------------------------------------------


def test_rigl_drops_by_magnitude_and_grows_by_gradient():
    net, method = with_mask(RigL, ACTIVE, drop_fraction=0.5, lr=10.0, **ALWAYS)
    method.steps = 1
    assert method.should_update() and method.dense_backward
    step(net, method, GRAD)
    # 1 and -0.1 go; of all but 4 and -3, the largest |gradients| are -3 and -2: the latter grows 1 again
    assert mask(method) == [[1, 1, 0, 1], [1, 0, 0, 0]]
    # this step has not moved a weight, the new one is zero, the regrown one keeps its value
    assert net.weight.tolist() == [[4.0, -3.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert method.steps == 2


def test_rigl_moves_weights_at_other_steps():
    net, method = with_mask(RigL, ACTIVE, lr=1.0, begin=0.0, end=1.0, update_every=4)
    step(net, method, GRAD, at=3)
    assert not method.masks[""][0, 3] and net.weight.tolist()[0] == [4 - 9, -3 - 9, 0, 0]
    step(net, method, GRAD)  # step 4 updates
    assert net.weight.tolist()[0][:2] == [-5, -12]


def test_rigl_needs_gradients():
    net, method = with_mask(RigL, ACTIVE, **ALWAYS)
    method.steps = 1
    with pytest.raises(UsageError, match="no layer has a gradient"):
        method.step()


def test_rigl_keeps_neurons_on_the_sphere():
    net = nn.Linear(6, 3, bias=False)
    optimizer = LpSGDm(param_groups(net, 1.5, exclude=[]), lr=0.1, p=None)
    method = RigL(net, optimizer, sparsity=0.4, total_steps=20, drop_fraction=0.5, **ALWAYS)
    for at in range(6):
        method.steps = max(at, 1)
        net.weight.grad = torch.randn(3, 6)
        method.step()
        norm = net.weight.detach().abs().pow(1.5).sum(1).pow(1 / 1.5)
        alive = method.masks[""].any(1)
        assert ((norm[alive] - 1).abs() < 1e-6).all() and not net.weight[method.masks[""] == 0].any()


# --- SNIP -------------------------------------------------------------------------------------------------------


def two_layers():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.1]]))
        net[1].weight.copy_(torch.tensor([[0.5, 4.0], [-0.2, 1.0]]))
    net[0].weight.grad = torch.tensor([[5.0, 4.0], [-3.0, 1.0]])  # saliency 5, 8; 9, .1
    net[1].weight.grad = torch.tensor([[2.0, -1.5], [1.0, 0.3]])  # saliency 1, 6; .2, .3
    return net


@pytest.mark.parametrize(
    "options, first, second",
    [
        ({}, [[1, 1], [1, 0]], [[0, 1], [0, 0]]),
        ({"scope": "global"}, [[1, 1], [1, 0]], [[0, 1], [0, 0]]),
        ({"scope": "layer"}, [[0, 1], [1, 0]], [[1, 1], [0, 0]]),
    ],
)
def test_snip_keeps_the_largest_products_of_weight_and_gradient(options, first, second):
    net = two_layers()
    method = SNIP(net, torch.optim.SGD(net.parameters(), lr=0.0), sparsity=0.5, total_steps=5, **options)
    assert method.masks.sparsity_weights() == 0.0 and method.should_update() and method.dense_backward
    method.step()
    assert (method.masks["0"].int().tolist(), method.masks["1"].int().tolist()) == (first, second)
    assert torch.equal(net[0].weight.grad != 0, torch.tensor(first).bool())  # and the first step is masked already
    assert not method.should_update() and not method.dense_backward
    net[0].weight.grad, net[1].weight.grad = torch.rand(2, 2), torch.rand(2, 2)
    method.step()
    assert method.masks["0"].int().tolist() == first


def test_snip_layer_scope_follows_its_distribution_and_global_does_not():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    options = {"sparsity": 0.5, "total_steps": 2, "distribution": "er"}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    by_layer, together = SNIP(net, optimizer, scope="layer", **options), SNIP(net, optimizer, **options)
    assert by_layer.requested_density() == {"0": 6 / 16, "1": 4 / 4}
    assert together.requested_density() == {"0": 0.5, "1": 0.5}


def test_a_layer_that_snip_empties_is_said_to_have_collapsed(caplog):
    net = two_layers()
    net[1].weight.grad.zero_()
    method = SNIP(net, torch.optim.SGD(net.parameters(), lr=0.0), sparsity=0.7, total_steps=5)
    with caplog.at_level(logging.WARNING):
        method.step()
    assert method.masks.active() == {"0": 2, "1": 0}
    assert "all weights of 1 score zero" in caplog.messages[0]
    (line,) = method.layer_collapse()
    assert line == caplog.messages[1] and "layer '1' has collapsed" in line


def test_empty_neurons_are_logged_at_the_start(caplog):
    net, optimizer = layer([[1.0] * 2] * 20)
    with caplog.at_level(logging.WARNING):
        method = Static(net, optimizer, sparsity=0.9, total_steps=5)
    empty = int((method.masks[""].sum(1) == 0).sum())
    assert empty >= 16 and caplog.messages == [f"layer '': {empty} of 20 neurons have no active weight"]
    caplog.clear()
    Static(*layer(), sparsity=0.0, total_steps=5)
    assert caplog.messages == []


def test_snip_dynamic_drops_and_grows_by_gradient():
    net, method = with_mask(SNIPDynamic, ACTIVE, drop_fraction=0.25, **ALWAYS)
    step(net, method, [[9.0, 1.0, 0.5, -3.0], [-2.0, 4.0, 0.2, 0.3]], at=1)
    # one of four goes: |gradient| 1; the largest of the rest comes: -3
    assert mask(method) == [[1, 0, 0, 1], [1, 1, 0, 0]]
    assert net.weight.tolist() == [[4.0, 0.0, 0.0, 0.0], [1.0, pytest.approx(-0.1), 0.0, 0.0]]


def test_snip_dynamic_is_due_every_second_step():
    net, optimizer = layer()
    method = SNIPDynamic(net, optimizer, sparsity=0.5, total_steps=20)
    due = []
    for _ in range(20):
        due.append(method.should_update())
        step(net, method, GRAD)
    assert [at for at, is_due in enumerate(due) if is_due] == [2, 4, 6, 8, 10, 12, 14]


# --- when -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, total, expected",
    [
        ({"begin": 0.0, "end": 0.75, "update_every": 5}, 20, [5, 10]),
        ({"begin": 0.2, "end": 0.8, "update_every": 4}, 20, [4, 8, 12]),
        ({"begin": 0.5, "end": 1.0, "update_every": 3}, 20, [10, 13, 16, 19]),
        ({"begin": 0.0, "end": 1.0, "update_every": 50}, 20, []),
        ({"begin": 0.0, "end": 0.3, "update_every": 1}, 1, []),
    ],
)
def test_window(options, total, expected):
    window = Window(total_steps=total, **options)
    assert [at for at in range(total) if window.should_update(at)] == expected


@pytest.mark.parametrize("total, updates, every", [(100000, 50, 40), (1000, 50, 16), (1000, 100, 8), (50, 50, 1)])
def test_automatic_update_every(total, updates, every):
    assert Window(0.0, 0.8, 0, total, updates).every == every


def test_decay():
    window = Window(0.2, 0.8, 1, 100)
    assert [window.decay("cosine", at) for at in (0, 40, 80, 99)] == pytest.approx([1, 0.5, 0, 0])
    assert window.decay("constant", 70) == 1.0
    assert Window(0.0, 0.3, 1, 1).decay("cosine", 0) == 1.0  # a window of no step at all


# --- errors -----------------------------------------------------------------------------------------------------

DROP_GROW = [
    ({"drop_fraction": 0.0}, r"method.drop_fraction must be in \(0, 1\], got 0.0"),
    ({"drop_fraction": 1.5}, "method.drop_fraction"),
    ({"drop_schedule": "linear"}, "method.drop_schedule must be .*'linear'"),
    ({"begin": 1.0}, "method.begin"),
    ({"begin": 0.5, "end": 0.4}, "method.end must be in"),
    ({"begin": 0.0, "end": 0.0}, "method.end"),
    ({"end": 1.5}, "method.end"),
    ({"update_every": -1}, "method.update_every"),
    ({"update_every": "often"}, "method.update_every='often'"),
    ({"distribution": "earth"}, "unknown layer distribution 'earth'"),
]
LPSS = [
    ({"start_sparsity": 1.0}, "method.start_sparsity"),
    ({"zeta_w": 0.0}, "method.zeta_w"),
    ({"zeta_w": 1.1}, "method.zeta_w"),
    ({"zeta_g": -0.1}, "method.zeta_g"),
    ({"tau": 1.0}, "method.tau"),
    ({"tau": -0.1}, "method.tau"),
    ({"grace_steps": -1}, "method.grace_steps"),
    ({"zeta_rule": "x"}, "method.zeta_rule must be one of paper, demo; got 'x'"),
    ({"grow_score": "x"}, "method.grow_score must be"),
    ({"grow_scope": "x"}, "method.grow_scope must be"),
    ({"grow_init": "x"}, "method.grow_init must be one of zero, stale, threshold, grace"),
    ({"drop_schedule": "x"}, "method.drop_schedule must be"),
    ({"begin": -0.1}, "method.begin"),
    ({"zeta": 1}, "unknown key method.zeta"),
]
EVERY = [
    ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0"),
    ({"sparsity": -0.5}, "sparsity must be in"),
    ({"sparsity": float("nan")}, "sparsity must be in"),
    ({"total_steps": 0}, "total_steps must be at least 1, got 0"),
    ({"sparcity": 0.5}, "unknown key method.sparcity"),
    ({"exclude": ["tail"]}, "mask.exclude: 'tail'"),
    ({"exclude": ["head"]}, "leaves no trainable layer to mask"),
]


@pytest.mark.parametrize(
    "name, options, message",
    [
        *(("set", *row) for row in DROP_GROW),
        *(("rigl", *row) for row in DROP_GROW[:3]),
        *(("snip_dynamic", *row) for row in DROP_GROW[:3]),
        *(("lpss", *row) for row in LPSS),
        *(("lpss_demo", *row) for row in LPSS[:2]),
        *((name, *row) for name in METHODS for row in EVERY),
        ("snip", {"scope": "net"}, "method.scope must be global or layer, got 'net'"),
        ("static", {"distribution": "erl"}, "unknown layer distribution 'erl'"),
        ("static", {"drop_fraction": 0.1}, "unknown key method.drop_fraction"),
    ],
)
def test_wrong_options_name_the_key(name, options, message):
    if name == "dense" and "sparsity" in options:
        assert METHODS["dense"](*layer(), total_steps=10, **options).sparsity == 0.0  # taken as 0
        return
    with pytest.raises(UsageError, match=message):
        METHODS[name](*layer(), **{"sparsity": 0.5, "total_steps": 10} | options)


def test_a_new_drop_and_grow_method_is_one_score():
    """A new method of this kind says where to grow; nothing else."""

    class Backwards(DropGrow):
        def grow_score(self, name):
            return -torch.arange(8.0).view(2, 4)

    net, method = with_mask(Backwards, ACTIVE, drop_fraction=0.5, **ALWAYS)
    step(net, method, GRAD, at=1)
    assert mask(method) == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_lpss_starts_no_sparser_than_asked():
    assert LpSS(*layer(), sparsity=0.125, total_steps=10, start_sparsity=0.2).masks.active() == {"": 7}
    assert LpSS(*layer(), sparsity=0.5, total_steps=10, start_sparsity=0.25).masks.active() == {"": 6}


def test_gmp_follows_the_cubic_schedule_and_never_grows():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 5))
    method = GMP(net, torch.optim.SGD(net.parameters(), lr=1e-3), sparsity=0.8, total_steps=100, update_every=10)
    seen, alive = [], {name: mask.clone() for name, mask in method.masks.items()}
    assert method.masks.sparsity_weights() == 0
    for _ in range(100):
        net(torch.randn(8, 40)).square().sum().backward()
        before = {name: layer.weight.detach().abs().clone() for name, layer in method.masks.layers.items()}
        was_due = method.should_update()
        method.step()
        if was_due:
            seen.append(method.masks.sparsity_weights())
            for name, mask in method.masks.items():
                assert (mask <= alive[name]).all()
                gone = (alive[name] - mask).bool()
                if gone.any():
                    assert before[name][gone].max() <= before[name][mask.bool()].min()
            alive = {name: mask.clone() for name, mask in method.masks.items()}
        method.optimizer.zero_grad()
    expected = [0.8 * (1 - (1 - step / 70) ** 3) for step in range(10, 71, 10)]
    assert seen == pytest.approx(expected, abs=0.003)
    assert method.masks.sparsity_weights() == pytest.approx(0.8, abs=0.001)


def test_rescaled_neurons_keep_the_size_of_their_sums():
    """sqrt(fan-in / active) for random and one-shot masks, nothing on the sphere or for neurons without inputs."""
    for name, dense_step in ((Static, False), (SNIP, True)):
        torch.manual_seed(0)
        net = nn.Linear(400, 50)
        before = net.weight.detach().clone()
        method = name(net, torch.optim.SGD(net.parameters(), lr=0.0), sparsity=0.9, total_steps=10, rescale=True)
        if dense_step:
            net.weight.grad = torch.randn_like(net.weight)
            method.step()
        mask = method.masks[""]
        expected = before * mask * (400 / mask.sum(1, keepdim=True).clamp(min=1)).sqrt()
        torch.testing.assert_close(net.weight.detach(), expected)
        assert mask.mean() == pytest.approx(0.1)
    plain = nn.Linear(400, 50)
    optimizer = LpSGDm(param_groups(plain, 1.5, exclude=[]), lr=0.1, p=None)
    LpSS(plain, optimizer, sparsity=0.9, total_steps=10, rescale=True)
    norms = sphere.row_norm(plain.weight.detach(), 1.5)
    torch.testing.assert_close(norms, torch.ones_like(norms))
