"""What is reported of a net is true of it, whatever is done to it between steps and whichever optimizer moves it."""

import inspect
import logging

import pytest
import torch
from torch import nn

import lpss
from lpss import BestWeights, LpSGD, LpSGDm, Masks, RigL, SparseAverage, Static, param_groups
from lpss.errors import UsageError
from lpss.optim.protocol import _ELEMENTWISE
from lpss.sparse.methods import METHODS

STEPS = 40
OFTEN = {"update_every": 4, "end": 0.9}
OPTIMIZERS = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3),
    "lpsgd": lambda net: LpSGD(param_groups(net, 1.5), lr=0.05, p=None),
    "lpsgd_m": lambda net: LpSGDm(param_groups(net, 1.5), lr=0.05, p=None),
}


# Every method with every optimizer, but for those that have no meaning for weights on a sphere.
PAIRS = [(name, way) for name in METHODS for way in OPTIMIZERS if way == "sgd" or not METHODS[name].no_spheres]


def make_net(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16, bias), nn.ReLU(), nn.Linear(16, 16, bias), nn.ReLU(), nn.Linear(16, 3, bias))


def make(name, optimizer, net=None, **options):
    net = net or make_net()
    known = METHODS[name].Config.__dataclass_fields__
    options = {key: value for key, value in (OFTEN | options).items() if key in known}
    method = METHODS[name](net, optimizer(net), sparsity=0.8, total_steps=STEPS, **options)
    method.prepare(map(batch, range(50)))
    return net, method


def batch(step):
    x = torch.randn(32, 12, generator=torch.Generator().manual_seed(step))
    return x, x[:, :3].argmax(1)


def loss_of(net, optimizer, step):
    def closure():
        optimizer.zero_grad()
        x, y = batch(step)
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        return loss

    return closure


def train(net, method, steps, check=lambda: None):
    for step in range(method.steps, method.steps + steps):
        loss_of(net, method.optimizer, step)()
        method.step()
        check()


def counted(masks):
    """The sparsity of the weights themselves: zeros off the mask."""
    zeros = sum(int((layer.weight.eq(0) & masks[name].eq(0)).sum()) for name, layer in masks.layers.items())
    return zeros / masks.maskable


def off(masks):
    return sum(int((layer.weight.ne(0) & masks[name].eq(0)).sum()) for name, layer in masks.layers.items())


# --- optimizers that mix weights ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_muon_moves_no_weight_off_the_mask(name, attached):
    net, method = make(name, lambda net: torch.optim.Muon(net.parameters(), lr=0.02), make_net(bias=False))
    if attached:
        method.attach()
    before = net[0].weight.detach().clone()
    train(net, method, STEPS, lambda: off(method.masks) == 0 or pytest.fail("a weight off the mask"))
    assert not torch.equal(net[0].weight, before)
    assert method.masks.sparsity_weights() == pytest.approx(counted(method.masks), abs=1e-12)
    if name != "dense":
        assert method.masks.sparsity_weights() > 0.25


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_lbfgs_moves_no_weight_off_the_mask(name, attached):
    net, method = make(name, lambda net: torch.optim.LBFGS(net.parameters(), max_iter=4, line_search_fn="strong_wolfe"))
    if attached:
        method.attach()
    losses = []
    for _ in range(STEPS):
        closure = loss_of(net, method.optimizer, 0)
        loss = method.optimizer.step(closure) if attached else method.step(closure=closure)
        losses.append(loss.item())
        assert off(method.masks) == 0
    assert method.steps == STEPS and min(losses) < 0.7 * losses[0] and max(losses) < 10
    assert method.masks.sparsity_weights() == pytest.approx(counted(method.masks), abs=1e-12)


@pytest.mark.parametrize("kind", sorted(_ELEMENTWISE - {torch.optim.SparseAdam}, key=lambda kind: kind.__name__))
@pytest.mark.parametrize("name", ["rigl", "lpss", "gmp"])
def test_optimizers_that_are_trusted_to_keep_zeros_do(name, kind):
    options = {"weight_decay": 1e-2} if "weight_decay" in inspect.signature(kind).parameters else {}
    net, method = make(name, lambda net: kind(net.parameters(), lr=0.01, **options))
    before = net[2].weight.detach().clone()
    assert method.keeps_zeros  # so nothing is masked after a step
    train(net, method, STEPS, lambda: off(method.masks) == 0 or pytest.fail("a weight off the mask"))
    assert not torch.equal(net[2].weight, before) and torch.isfinite(net[2].weight).all()


def test_an_optimizer_that_nobody_knows_is_not_trusted():
    class Restless(torch.optim.SGD):
        def step(self, closure=None):
            with torch.no_grad():
                for group in self.param_groups:
                    for param in group["params"]:
                        param.add_(torch.full_like(param, 0.01))

    net, method = make("rigl", lambda net: Restless(net.parameters(), lr=0.1))
    train(net, method, 10, lambda: off(method.masks) == 0 or pytest.fail("a weight off the mask"))


# --- weights that are changed from outside --------------------------------------------------------------------------


@pytest.mark.parametrize("name, optimizer", PAIRS)
def test_weights_loaded_in_mid_run_are_masked_and_kept(name, optimizer, caplog):
    net, method = make(name, OPTIMIZERS[optimizer])
    train(net, method, 3)
    early = {key: value.clone() for key, value in net.state_dict().items()}
    train(net, method, STEPS // 2)
    net.load_state_dict(early)
    wrong = off(method.masks)
    assert method.masks.sparsity_weights() == pytest.approx(counted(method.masks), abs=1e-12)  # before any repair
    kept = {name: layer.weight.detach() * method.masks[name] for name, layer in method.masks.layers.items()}
    with caplog.at_level(logging.WARNING):
        assert method.repair() == wrong
    assert ("were not zero" in caplog.text) == bool(wrong)
    assert off(method.masks) == 0
    for layer, weight in kept.items():  # the loaded weights, on their sphere
        now = method.masks.layers[layer].weight.detach()
        alive = weight.any(1)
        cosine = nn.functional.cosine_similarity(now[alive], weight[alive])  # neuron by neuron
        assert (cosine > 0.999).all() and torch.equal(now == 0, weight == 0)
    train(net, method, 5, lambda: off(method.masks) == 0 or pytest.fail("a weight off the mask"))


@pytest.mark.parametrize("name", ["gmp", "rigl", "lpss", "lpss_demo"])
def test_a_step_repairs_by_itself(name):
    net, method = make(name, OPTIMIZERS["lpsgd_m"])
    train(net, method, STEPS // 2)
    with torch.no_grad():
        net[2].weight.fill_(0.3)
    assert method.masks.sparsity_weights() < 0.7
    train(net, method, 1)
    assert off(method.masks) == 0


def test_lpsgdm_goes_on_from_loaded_weights_not_from_its_old_v():
    net, method = make("static", OPTIMIZERS["lpsgd_m"])
    train(net, method, 5)
    target = torch.rand_like(net[2].weight) * method.masks["2"]
    target = lpss.sphere.normalize(target, 1.5)
    with torch.no_grad():
        net[2].weight.copy_(target)
    for group in method.optimizer.param_groups:
        group["lr"] = 1e-4
    train(net, method, 1)
    assert (net[2].weight - target).abs().max() < 0.02


def test_what_torch_does_not_count_is_found_now_and_then_and_never_reported():
    net, method = make("static", OPTIMIZERS["sgd"])
    net[2].weight.data.fill_(1.0)  # no version counter sees it
    assert method.masks.sparsity_weights() == pytest.approx(counted(method.masks), abs=1e-12)
    train(net, method, 1)
    assert off(method.masks) == 0


def test_masks_follow_a_net_to_another_dtype():
    net, method = make("rigl", OPTIMIZERS["sgd"])
    net.double()
    for step in range(10):
        x, y = batch(step)
        method.optimizer.zero_grad()
        nn.functional.cross_entropy(net(x.double()), y).backward()
        method.step()
    assert off(method.masks) == 0 and method.masks["0"].dtype == torch.float64


@pytest.mark.parametrize("report", ["sparsity_weights", "sparsity_all_parameters"])
def test_a_layer_that_was_replaced_is_an_error(report):
    net, method = make("rigl", OPTIMIZERS["sgd"])
    net[2] = nn.Linear(16, 16)
    getattr(method.masks, report)()  # the layer that was masked is still itself: only nobody uses it
    net, method = make("rigl", OPTIMIZERS["sgd"])
    net[2].weight = nn.Parameter(torch.ones(16, 16))
    for call in (getattr(method.masks, report), method.step, method.repair):
        with pytest.raises(UsageError, match="layer '2' has another weight"):
            call()
    net, method = make("rigl", OPTIMIZERS["sgd"])
    net.load_state_dict(net.state_dict(), assign=True)
    with pytest.raises(UsageError, match="assign=True"):
        method.step()


def test_another_nets_optimizer_is_refused_and_what_it_does_not_hold_stays_dense():
    net, other = make_net(), make_net()
    with pytest.raises(UsageError, match="holds no parameter of this Sequential"):
        RigL(net, OPTIMIZERS["sgd"](other), sparsity=0.8, total_steps=10)
    method = Static(net, torch.optim.SGD([net[0].weight, net[2].weight], lr=0.1), sparsity=0.8, total_steps=10)
    assert method.coverage.dense == {"4": "not in the optimizer"} and net[4].weight.all()


# --- averages and best weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, optimizer", PAIRS)
def test_an_average_is_as_sparse_as_the_net(name, optimizer):
    net, method = make(name, OPTIMIZERS[optimizer])
    average = SparseAverage(net, method, decay=0.9)
    plain = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))

    def update():
        average.update_parameters(net)
        plain.update_parameters(net)

    train(net, method, STEPS, update)
    masks = method.masks
    assert average.sparsity_weights() == pytest.approx(masks.sparsity_weights(), abs=1e-12)
    assert Masks(average.module).sparse_weights() == 0  # its own masks are dense: nothing is claimed
    x, _ = batch(0)
    assert (average(x) - net(x)).abs().max() < (net(x)).abs().max()
    if name in ("set", "rigl", "lpss"):
        zeros = sum(int((plain.module[index].weight == 0).sum()) for index in (0, 2, 4))
        assert zeros / masks.maskable < masks.sparsity_weights() - 0.02  # why the plain average does not do
    if optimizer != "sgd":
        alive = masks["2"].any(1)
        norms = average.module[2].weight.detach().abs().pow(1.5).sum(1).pow(1 / 1.5)
        assert (norms[alive] - 1).abs().max() < 1e-5


@pytest.mark.parametrize("name, optimizer", PAIRS)
def test_best_weights_come_back_with_their_masks_and_training_goes_on(name, optimizer):
    net, method = make(name, OPTIMIZERS[optimizer])
    best = BestWeights(net, method)
    with pytest.raises(UsageError, match="no best weights yet"):
        best.restore()
    train(net, method, STEPS // 2)
    assert best.update(0.9) and not best.update(0.9) and not best.update(float("nan"))
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    masks = method.masks.state_dict()
    train(net, method, STEPS // 4)
    copy = BestWeights(net, method)
    copy.load_state_dict(best.state_dict())
    copy.restore()
    assert copy.score == 0.9 and off(method.masks) == 0
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=0, atol=1e-6)
    for layer, mask in method.masks.state_dict().items():
        assert torch.equal(mask, masks[layer])
        for key, value in method.optimizer.state[method.masks.layers[layer].parameter].items():
            if torch.is_tensor(value) and value.shape == mask.shape and key not in method.unmasked_state:
                assert not value[~mask].any(), key
    train(net, method, STEPS // 4, lambda: off(method.masks) == 0 or pytest.fail("a weight off the mask"))


def test_decay_out_of_range_is_refused():
    net, method = make("static", OPTIMIZERS["sgd"])
    with pytest.raises(UsageError, match="decay must be in \\[0, 1\\), got 1.0"):
        SparseAverage(net, method, decay=1.0)


# --- clipping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["attached", "mask_gradients"])
@pytest.mark.parametrize("name, optimizer", PAIRS)
def test_clipping_sees_the_gradients_that_move_the_weights(name, optimizer, way):
    net, method = make(name, OPTIMIZERS[optimizer])
    if way == "attached":
        method.attach()
    for step in range(STEPS):
        loss_of(net, method.optimizer, step)()
        dense = [param.grad.clone() for param in net.parameters()]
        update = method.should_update()
        if way == "mask_gradients":
            method.mask_gradients()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 0.05)
        masked = [layer.gradient / min(1, 0.05 / norm) for layer in method.masks.layers.values()]
        if method.moves_at_update or not update:
            for gradient, name in zip(masked, method.masks, strict=True):
                assert not method.masks_gradients or not gradient[method.gradient_mask(name) == 0].any()
            if way == "mask_gradients":
                names = {id(layer.parameter): name for name, layer in method.masks.layers.items()}
                params = zip(net.parameters(), dense, strict=True)
                masked = names if method.masks_gradients else {}
                expected = [g * method.gradient_mask(names[id(p)]) if id(p) in masked else g for p, g in params]
                torch.testing.assert_close(norm, nn.utils.get_total_norm(expected))
        method.step()
    assert off(method.masks) == 0


def test_new_connections_get_their_clipped_gradient_at_an_update():
    """Where the gradient is dense and the step moves weights: old and new connections by the same clipped gradient."""
    net, method = make("rigl", lambda net: torch.optim.SGD(net.parameters(), lr=1.0))
    method.moves_at_update = True
    train(net, method, 4)
    assert method.should_update()
    loss_of(net, method.optimizer, 99)()
    dense = {name: layer.gradient.clone() for name, layer in method.masks.layers.items()}
    old = {name: mask.clone() for name, mask in method.masks.items()}
    before = {name: layer.weight.detach().clone() for name, layer in method.masks.layers.items()}
    method.mask_gradients()
    norm = nn.utils.clip_grad_norm_(net.parameters(), 0.01)
    method.step()
    for name, mask in method.masks.items():
        new = (mask == 1) & (old[name] == 0)
        moved = method.masks.layers[name].weight.detach()
        torch.testing.assert_close(moved[new], (-dense[name] * 0.01 / norm)[new], rtol=1e-4, atol=1e-9)
        stays = (mask == 1) & (old[name] == 1)
        torch.testing.assert_close(
            moved[stays], (before[name] - dense[name] * 0.01 / norm)[stays], rtol=1e-4, atol=1e-7
        )
