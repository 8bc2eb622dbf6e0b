"""Nets trained from their active weights: the same numbers as dense, in files as ever, whatever is done to them."""

import copy
import io
import logging
import pickle
from itertools import permutations

import pytest
import torch
import torchvision
from torch import nn

import lpss
from lpss.active import active_entries
from lpss.engine.modules import SparseWeight
from lpss.errors import UsageError
from lpss.native import loader
from lpss.optim.protocol import _BY_SHAPE, _ELEMENTWISE
from lpss.sparse.methods import METHODS

OPTIMIZERS = ("sgd", "adamw", "lpsgd", "lpsgd_m")
MOST = ("rigl", "lpss", "gmp", "snip")  # methods that change masks in every way there is
BY_ENTRIES = _ELEMENTWISE - _BY_SHAPE - {torch.optim.SparseAdam}
PARTS = ("net", "optimizer", "method")


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, optimizer",
    [(name, way) for name in METHODS for way in OPTIMIZERS if "lpsgd" not in way or not METHODS[name].no_spheres],
)
def test_training_is_what_dense_training_is(make, alike, method, optimizer):
    """In float64, where rounding decides little: Adam's quotient of two gradients that are zero but for it."""
    dense, run = (make(method, optimizer, accelerated=way, dtype=torch.float64).train(30) for way in (False, True))
    assert alike(run, dense, 1e-8)
    assert run.losses == pytest.approx(dense.losses, abs=1e-10)
    assert run.sparse() == ([] if run.acceleration.dense else ["0", "3", "5"])


@pytest.mark.parametrize("net", ["mlp", "cnn"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", MOST)
def test_training_in_float32_is_what_dense_training_is_up_to_rounding(make, alike, method, optimizer, net):
    dense, run = (make(method, optimizer, net, accelerated=way).train(12) for way in (False, True))
    assert alike(run, dense, 1e-4)
    assert run.losses == pytest.approx(dense.losses, abs=1e-4)
    assert len(run.sparse()) == 3


@pytest.mark.parametrize("kind", sorted(BY_ENTRIES, key=lambda kind: kind.__name__))
def test_optimizers_that_are_trusted_to_move_each_weight_by_itself_do(make, alike, kind):
    def build(net):
        return kind(net.parameters(), lr=0.01)

    dense, run = (make("rigl", build, accelerated=way, dtype=torch.float64).train(12) for way in (False, True))
    assert alike(run, dense, 1e-9) and len(run.sparse()) == 3
    saved = [way.optimizer.state_dict()["state"] for way in (run, dense)]
    for mine, right in zip(*(state.values() for state in saved), strict=True):
        assert [(key, getattr(x, "shape", None)) for key, x in mine.items()] == [
            (key, getattr(x, "shape", None)) for key, x in right.items()
        ]


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_without_c_code_training_is_the_same_up_to_rounding(make, alike, net, without_c_code):
    dense, run = (make("rigl", "lpsgd_m", net, accelerated=way).train(12) for way in (False, True))
    assert alike(run, dense, 1e-4) and len(run.sparse()) == 3


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_training_twice_gives_the_same_bits(make, alike, net):
    assert alike(make("lpss", "lpsgd_m", net).train(15), make("lpss", "lpsgd_m", net).train(15))


def test_only_layers_of_low_density_compute_sparse_and_others_begin_to_when_they_are(make, alike):
    options = {"sparsity": 0.8, "begin": 0.1, "end": 0.9}
    dense = make("gmp", accelerated=False, dtype=torch.float64, **options).train(30)
    run = make("gmp", accelerated=False, dtype=torch.float64, **options)
    run.acceleration = lpss.accelerate(run.net, run.method, {"0": 0.5, "3": 1.0, "nowhere": 1.0})
    assert run.acceleration.dense == {"5": "dense products are faster"}
    assert run.sparse() == run.acceleration.sparse_now() == ["3"]
    seen = [run.train(1).sparse() for _ in range(30)]
    assert seen[-1] == ["0", "3"] and seen == sorted(seen, key=len)
    assert alike(run, dense, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_layer_without_any_active_weight_computes_zeros_and_training_goes_on(make, optimizer, dtype):
    run = make("static", optimizer, sparsity=0.9, dtype=dtype)
    run.method.set_mask("3", torch.zeros(16, 16, dtype=torch.bool))
    x = torch.randn(5, 12, dtype=dtype)
    assert run.sparse() == ["0", "3", "5"] and next(run.net[3].parameters()).shape == (0,)
    assert torch.equal(run.net[3](run.net[:3](x)), torch.zeros(5, 16, dtype=dtype))
    run.train(3)
    assert not run.net[3].weight.any()


# --- loops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "lpsgd_m"])
@pytest.mark.parametrize("method", ["rigl", "set", "lpss"])
def test_gradients_are_clipped_accumulated_and_scaled_as_masked_dense_ones(make, alike, method, optimizer):
    """In a loop of an attached method with GradScaler; some of its steps are skipped."""

    def train(run, steps=18):
        run.method.attach()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1000)
        norms = []
        for step in range(steps):
            draw = torch.Generator().manual_seed(step)
            x = torch.randn(20, 12, generator=draw, dtype=torch.float64)
            run.optimizer.zero_grad()
            for part in x.chunk(2):
                loss = nn.functional.cross_entropy(run.net(part), part[:, :3].argmax(1)) / 2
                scaler.scale(loss * (float("inf") if step in (3, 7) else 1.0)).backward()
            scaler.unscale_(run.optimizer)
            norms.append(nn.utils.clip_grad_norm_(run.net.parameters(), 0.3).item())
            scaler.step(run.optimizer)
            scaler.update()
        return norms

    dense, run = (make(method, optimizer, accelerated=way, dtype=torch.float64) for way in (False, True))
    wanted, found = train(dense), train(run)
    still = [step for step in range(18) if step not in (3, 7)]
    moving = [step for step in still if run.method.moves_at_update or wanted[step] == pytest.approx(found[step])]
    assert len(moving) >= 11  # where RigL moves nothing, the dense net's clipping sees gradients that are not masked
    assert [found[step] for step in moving] == pytest.approx([wanted[step] for step in moving])
    assert alike(run, dense, 1e-9) and run.method.steps == 16 and len(run.sparse()) == 3


def test_the_norm_that_clipping_sees_is_that_of_masked_dense_gradients(make):
    dense, run = (make("rigl", accelerated=way, dtype=torch.float64) for way in (False, True))
    for way in (dense, run):
        way.train(3)
        assert way.method.should_update()
        way.backward(3)
        way.method.mask_gradients()
    norms = [nn.utils.clip_grad_norm_(way.net.parameters(), 1e9) for way in (dense, run)]
    torch.testing.assert_close(*norms)
    for name in run.method.masks:
        torch.testing.assert_close(run.method.gradient(name), dense.method.gradient(name))


def test_a_gradient_scaler_under_autocast_trains(make):
    run = make("rigl")
    run.method.attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in range(12):
        x = torch.randn(20, 12, generator=torch.Generator().manual_seed(step))
        run.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(run.net(x), x[:, :3].argmax(1))
        scaler.scale(loss).backward()
        scaler.step(run.optimizer)
        scaler.update()
        run.losses.append(loss.item())
    assert run.method.steps == 12 and len(run.sparse()) == 3 and run.losses[-1] < run.losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in run.net.parameters())


def test_groups_that_are_added_to_the_optimizer_are_saved_with_the_others(make, alike):
    runs = []
    for way in (False, True):
        run = make("set", "adamw", accelerated=way, dtype=torch.float64)
        extra = nn.Parameter(torch.ones(4))
        run.train(4).optimizer.add_param_group({"params": [extra]})
        extra.grad = torch.ones(4)
        runs.append(run.train(4))
    assert alike(*runs, 1e-9)
    saved = [run.optimizer.state_dict()["state"] for run in runs]
    assert [value["exp_avg"].shape for value in saved[0].values()] == [
        value["exp_avg"].shape for value in saved[1].values()
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def equal(a, b, tolerance=0.0):
    """Whether two states hold the same, tensors bit by bit or up to a tolerance."""
    if torch.is_tensor(a):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a - b).abs() <= tolerance).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key], tolerance) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_states_have_whole_tensors_and_are_those_of_the_dense_net(make, optimizer):
    dense, run = (make("static", optimizer, accelerated=way, dtype=torch.float64).train(6) for way in (False, True))
    for part in ("net", "optimizer"):
        found, wanted = (getattr(way, part).state_dict() for way in (run, dense))
        assert equal(dict(found), dict(wanted), 1e-9)
    assert len(run.sparse()) == 3  # asking changes nothing
    assert type(run.net.state_dict()["0.weight"]) is torch.Tensor


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "lpsgd_m"])
@pytest.mark.parametrize("method", MOST)
def test_training_goes_on_bitwise_from_files_that_are_loaded_in_any_order(make, alike, method, optimizer, attached):
    whole, cut = make(method, optimizer), make(method, optimizer)
    parts = PARTS[:2] if attached else PARTS
    for run in (whole, cut):
        _ = attached and run.method.attach()
    saved = cut.train(14).saved(*parts)
    whole.train(22)
    for order in permutations(parts):
        run = make(method, optimizer, sparsity=0.5 if method == "rigl" else 0.6)  # other masks than the saved ones
        _ = attached and run.method.attach()
        run.train(3)
        for part in order:
            assert run.load({part: saved[part]}).fits()
        if method == "rigl":
            run.method.sparsity = 0.6
        run.train(8)
        assert alike(run, whole), order
        assert len(run.sparse()) == 3
    cut.load(saved).train(8)  # into itself
    assert alike(cut, whole)


@pytest.mark.parametrize("there", [False, True])
def test_training_goes_on_dense_where_it_was_sparse_and_the_other_way_round(make, alike, there):
    whole = make("lpss", "lpsgd_m", accelerated=False, dtype=torch.float64).train(24)
    saved = make("lpss", "lpsgd_m", accelerated=there, dtype=torch.float64).train(12).saved()
    run = make("lpss", "lpsgd_m", accelerated=not there, dtype=torch.float64).load(saved).train(12)
    assert alike(run, whole, 1e-9)


def test_a_net_that_is_loaded_alone_is_sparse_again_when_it_is_used(make):
    run = make("static", "adamw").train(3)
    state = copy.deepcopy(run.net.state_dict())
    run.train(2)
    run.net.load_state_dict(state)
    assert run.sparse() == []
    saved = run.optimizer.state_dict()["state"]
    assert [value["exp_avg"].shape for value in saved.values()] == [param.shape for param in run.net.parameters()]
    run.net.eval()(torch.ones(2, 12))
    assert len(run.sparse()) == 3
    assert equal(dict(run.net.state_dict()), dict(state))


def test_an_optimizer_state_that_is_refused_leaves_everything_as_it_was(make, alike):
    run, other = make("static").train(3), make("static").train(3)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        run.optimizer.load_state_dict({"state": {}, "param_groups": []})
    assert alike(run.train(5), other.train(5)) and len(run.sparse()) == 3


def test_what_a_strict_load_misses_is_said_as_ever(make):
    run = make("static")
    state = dict(run.net.state_dict())
    weight = state.pop("0.weight")
    with pytest.raises(RuntimeError, match='Missing key.*"0.weight"'):
        run.net.load_state_dict(state)
    with pytest.raises(RuntimeError, match="size mismatch for 0.weight"):
        run.net.load_state_dict(state | {"0.weight": weight[1:]})
    run.train(2)
    assert len(run.sparse()) == 3


@pytest.mark.parametrize("method", ["static", "rigl", "lpss"])
@pytest.mark.parametrize("when", ["at once", "after a pass"])
def test_weights_of_a_dense_net_are_warned_of_used_as_they_are_and_masked_by_the_next_step(make, caplog, method, when):
    dense, run = (make(method, "lpsgd_m", accelerated=way, dtype=torch.float64).train(4) for way in (False, True))
    torch.manual_seed(1)
    state = {
        key: value + (torch.randn_like(value) if "weight" in key else 0)
        for key, value in dense.net.state_dict().items()
    }
    for way in (dense, run):
        way.net.load_state_dict(state)
    x = torch.randn(5, 12, dtype=torch.float64)
    if when == "after a pass":
        torch.testing.assert_close(run.net(x), dense.net(x))
        assert run.sparse() == []  # nothing is dropped before it is said
    for way in (dense, run):
        caplog.clear()
        way.train(1)
        assert "weights off the masks were not zero: something wrote to them" in caplog.text
    for a, b in zip(run.net.state_dict().values(), dense.net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    assert len(run.sparse()) == 3


def test_writes_through_the_parameters_are_repaired_as_dense_ones_are(make, alike):
    dense, run = (make("static", "lpsgd_m", accelerated=way, dtype=torch.float64).train(3) for way in (False, True))
    for way in (dense, run):
        with torch.no_grad():
            for parameter in way.net.parameters():
                parameter.mul_(2.0)
        assert way.method.repair() == 0
        for parameter in way.net.parameters():
            parameter.data.mul_(1.5)
        way.train(3)
    assert alike(run, dense, 1e-9)


def test_weights_that_are_replaced_are_an_error_as_ever(make):
    run = make("rigl")
    run.net[0].weight = nn.Parameter(torch.ones(16, 12))
    with pytest.raises(UsageError, match="layer '0' has another weight"):
        run.train(1)
    run = make("rigl")
    run.net.load_state_dict(run.net.state_dict(), assign=True)
    with pytest.raises(UsageError, match="assign=True"):
        run.train(1)


# --- copies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["mlp", "cnn"])
@pytest.mark.parametrize("way", ["copy", "pickle", "torch.save"])
def test_a_copy_of_the_net_computes_the_same_and_stands_alone(make, way, net):
    run = make("rigl", "lpsgd_m", net).train(4)
    if way == "copy":
        other = copy.deepcopy(run.net)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(run.net))
    else:
        torch.save(run.net, file := io.BytesIO())
        file.seek(0)
        other = torch.load(file, weights_only=False)
    x = torch.randn(17, 12)
    before = run.net(x).detach().clone()
    assert torch.equal(other(x), before)
    run.train(9)
    assert torch.equal(other(x), before) and not torch.equal(run.net(x), before)
    kept = copy.deepcopy(run.net.state_dict())
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)  # a copy can be trained by itself, as it is
    other(x).square().sum().backward()
    optimizer.step()
    assert equal(dict(run.net.state_dict()), dict(kept))
    other.load_state_dict(kept)
    torch.testing.assert_close(other(x), run.net(x), rtol=1e-4, atol=1e-5)


def test_the_method_of_an_accelerated_net_is_not_copied(make):
    run = make("rigl")
    for way in (copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError, match="cannot be copied or pickled: save its state_dict\\(\\), or call undo"):
            way(run.method)


@pytest.mark.parametrize("method", ["rigl", "lpss"])
def test_averages_and_best_weights_are_those_of_dense_training(make, alike, method, caplog):
    dense, run = (make(method, "lpsgd_m", accelerated=way, dtype=torch.float64) for way in (False, True))
    averages = []
    for way in (dense, run):
        average, best = lpss.SparseAverage(way.net, way.method, decay=0.9), lpss.BestWeights(way.net, way.method)
        for step in range(12):
            way.train(1)
            average.update_parameters(way.net)
            if step == 6:
                best.update(0.5)
        best.restore()
        averages.append(average)
    assert alike(run, dense, 1e-9) and len(run.sparse()) == 3
    x = torch.randn(5, 12, dtype=torch.float64)
    torch.testing.assert_close(*(average(x) for average in averages))
    assert averages[0].sparsity_weights() == averages[1].sparsity_weights()
    assert alike(run.train(6), dense.train(6), 1e-9)
    assert "were not zero" not in caplog.text


def test_masks_can_be_set_and_taken_from_outside(make, alike):
    dense, run = (make("static", "lpsgd_m", accelerated=way, dtype=torch.float64).train(3) for way in (False, True))
    masks = {
        name: torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) < 0.3
        for name, mask in run.method.masks.items()
    }
    for way in (dense, run):
        way.method.take_masks(masks)
        way.train(2)
        way.method.set_mask("3", ~masks["3"])
        way.train(2)
    assert alike(run, dense, 1e-9) and len(run.sparse()) == 3


def test_what_is_reported_is_what_it_is_of_the_dense_net(make):
    dense, run = (make("lpss", accelerated=way, dtype=torch.float64).train(8) for way in (False, True))
    x = torch.randn(1, 12, dtype=torch.float64)
    for report in (
        lambda way: way.method.masks.sparsity_weights(),
        lambda way: way.method.masks.sparsity_all_parameters(),
        lambda way: way.method.masks.off_mask(),
        lambda way: str(way.method.coverage).replace("Sparse", "").split(),
        lambda way: str(lpss.Cost(way.net, way.method.masks, x)),
        lambda way: round(way.method.masks.mean_hoyer_sparsity(), 6),
        lambda way: way.method.layer_collapse(),
    ):
        assert report(run) == report(dense)
    assert len(run.sparse()) == 3


# --- undoing it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("method", MOST)
def test_without_acceleration_training_goes_on_as_dense_training_does(make, alike, method, attached):
    dense, run = (make(method, "lpsgd_m", "cnn", accelerated=way, dtype=torch.float64) for way in (False, True))
    for way in (dense, run):
        _ = attached and way.method.attach()
        way.train(8)
    kept = list(map(id, run.net.parameters()))
    run.acceleration.undo()
    run.acceleration.undo()
    assert [(type(a), vars(a).keys()) for a in run.net.modules()] == [
        (type(a), vars(a).keys()) for a in dense.net.modules()
    ]
    assert list(map(id, run.net.parameters())) == kept and run.method.engine is None
    for a, b in zip(run.net.parameters(), dense.net.parameters(), strict=True):
        assert a.shape == b.shape and a.stride() == b.stride() and a.grad.shape == b.shape and active_entries(a) is None
    assert len(run.optimizer._optimizer_state_dict_post_hooks) == len(dense.optimizer._optimizer_state_dict_post_hooks)
    assert alike(run.train(8), dense.train(8), 1e-9)
    run.acceleration = lpss.accelerate(run.net, run.method)
    assert alike(run.train(4), dense.train(4), 1e-9) and len(run.sparse()) == 3


# --- what accelerate refuses, and what stays dense ------------------------------------------------------------------


def test_what_cannot_be_accelerated_is_refused(make):
    run, other = make("rigl"), make("rigl", accelerated=False)
    with pytest.raises(UsageError, match="is accelerated already: call undo\\(\\) first"):
        lpss.accelerate(run.net, run.method)
    with pytest.raises(UsageError, match="made for another net than this Sequential"):
        lpss.accelerate(nn.Sequential(nn.Linear(12, 16)), other.method)
    with pytest.raises(UsageError, match="takes the net itself, not DataParallel around it"):
        lpss.accelerate(nn.DataParallel(other.net), other.method)
    with pytest.raises(UsageError, match="call undo\\(\\) before another method is made"):
        METHODS["static"](run.net, run.optimizer, sparsity=0.5, total_steps=10)
    copied = copy.deepcopy(run.net)
    with pytest.raises(UsageError, match="or before it is copied"):
        METHODS["static"](copied, torch.optim.SGD(copied.parameters(), lr=0.1), sparsity=0.5, total_steps=10)


def plain_net():
    return nn.Sequential(nn.Linear(12, 8, bias=False), nn.SiLU(), nn.Linear(8, 3, bias=False))


class Own(torch.optim.SGD):
    """An optimizer that nobody knows."""


UNKNOWN = [name for name in ("LBFGS", "Muon", "Adafactor") if hasattr(torch.optim, name)]


@pytest.mark.parametrize("kind", [*(getattr(torch.optim, name) for name in UNKNOWN), Own])
def test_optimizers_that_do_not_move_each_weight_by_itself_train_dense(make, kind):
    run = make("rigl", lambda net: kind(net.parameters(), lr=0.01), plain_net)
    line = f"{kind.__name__} does not move each weight by itself"
    assert run.acceleration.dense == {"0": line, "2": line} and line in repr(run.acceleration)
    assert not any(isinstance(module, SparseWeight) for module in run.net.modules())
    run.method.step(closure=lambda: run.backward(0))
    assert run.method.steps == 1


@pytest.mark.parametrize(
    "method, options, why",
    [
        ("dense", {}, "method dense masks nothing"),
        ("lpss", {"grow_init": "stale"}, "the method keeps v of inactive weights"),
    ],
)
def test_methods_that_need_inactive_weights_train_dense(make, method, options, why):
    run = make(method, "lpsgd_m", **options)
    assert set(run.acceleration.dense.values()) == {why} and run.train(4).sparse() == []


def check_net(net, x, sparse, dense=(), method="static", tolerance=1e-4, **options):
    """In float32: outputs and gradients in training and in eval are those of the dense net, before and after training;
    the named layers compute sparse, and `dense` (layer -> part of the reason) do not."""
    torch.manual_seed(0)
    net = net.train()
    made = METHODS[method](net, torch.optim.SGD(net.parameters(), lr=1e-3), sparsity=0.6, total_steps=20, **options)
    other = copy.deepcopy(net)
    acceleration = lpss.accelerate(net, made)
    assert acceleration.sparse_now() == list(sparse)
    assert acceleration.dense.keys() == dict(dense).keys()
    text = repr(acceleration)
    for name, reason in dict(dense).items():
        assert text.count(f"{name} ({reason}") == 1
    y, wanted = net(x), other(x)
    torch.testing.assert_close(y, wanted, rtol=tolerance, atol=tolerance)
    dy = torch.randn(y.shape)
    y.backward(dy)
    wanted.backward(dy)
    for parameter, right in zip(net.parameters(), other.parameters(), strict=True):
        if right.grad is None:
            assert parameter.grad is None
            continue
        entries = active_entries(parameter)
        gradient = right.grad if entries is None else entries.gather(right.grad)
        torch.testing.assert_close(
            parameter.grad, gradient, rtol=0, atol=tolerance * (1 + float(right.grad.abs().max()))
        )
    for _ in range(4):
        made.step()
        net.zero_grad()
        net(x).square().mean().backward()
    net.eval()
    other.load_state_dict(net.state_dict())
    other.eval()
    for mode in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(net(x), other(x), rtol=tolerance, atol=tolerance)
    return acceleration


def test_a_resnet_of_torchvision_computes_sparse_throughout():
    torch.manual_seed(0)
    net = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5).to(
        memory_format=torch.channels_last
    )
    for name, module in list(net.named_modules()):  # see conftest.py
        if isinstance(module, nn.ReLU):
            net.get_submodule(name.rpartition(".")[0]).relu = nn.Softplus()
    layers = [name for name, module in net.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    x = torch.randn(3, 3, 33, 32).contiguous(memory_format=torch.channels_last)
    check_net(net, x, layers, method="rigl", update_every=2, tolerance=1e-3)


def test_a_transformer_keeps_its_attention_dense():
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation="gelu", batch_first=True)
    net = nn.TransformerEncoder(layer, 2)
    sparse = [f"layers.{index}.linear{number}" for index in (0, 1) for number in (1, 2)]
    dense = {f"layers.{index}.self_attn.in_proj_weight": "a MultiheadAttention" for index in (0, 1)}
    dense |= {f"layers.{index}.self_attn.out_proj": "a NonDynamicallyQuantizableLinear" for index in (0, 1)}
    check_net(net, torch.randn(3, 5, 8), sparse, dense)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0])


def test_recurrent_layers_stay_dense_and_what_follows_computes_sparse():
    dense = {"cell.weight_ih_l0": "a LSTM", "cell.weight_hh_l0": "a LSTM"}
    check_net(Recurrent(), torch.randn(4, 5, 6), ["head"], dense)


class Shared(nn.Module):
    """A layer that is used twice, two with one weight, one whose weight is read by hand."""

    def __init__(self):
        super().__init__()
        self.twice, self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.other.weight = self.one.weight
        self.read = nn.Linear(6, 6)

    def forward(self, x):
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        return torch.tanh(self.other(torch.tanh(self.one(x)))) @ self.read.weight.T


@pytest.mark.parametrize("include", [[], ["one"]])
@pytest.mark.filterwarnings("error")
def test_layers_that_are_used_twice_compute_sparse_and_weights_that_are_shared_do_not(include):
    dense = {name: "shared with other.weight" for name in include}
    check_net(Shared(), torch.randn(5, 6), ["twice", "read"], dense, "rigl", update_every=2, include=include)


def test_frozen_parametrized_grouped_and_dilated_layers_stay_dense():
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(8, 8, 3, dilation=2, bias=False),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 2)),
        nn.Conv2d(8, 8, 1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    net[4].requires_grad_(False)
    dense = {"1": "a convolution in groups", "2": "a dilated convolution", "3": "a ParametrizedConv2d"}
    check_net(net, torch.randn(17, 4, 8, 8), ["0", "6"], dense)


def test_a_net_of_which_nothing_can_compute_sparse_stays_what_it_is(make):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten())
    method = lpss.Static(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.5, total_steps=5)
    acceleration = lpss.accelerate(net, method)
    assert acceleration.line() == "0 of 1 masked layers compute from their active weights alone; dense: 0 (a Conv1d)"
    assert [type(module) for module in net.modules()] == [nn.Sequential, nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.Flatten]


def test_freezing_a_layer_in_mid_training_stops_it(make):
    run = make("static").train(2)
    before = run.net[0].weight.detach().clone()
    next(run.net[0].parameters()).requires_grad_(False)
    run.optimizer.zero_grad()
    run.train(2)
    assert torch.equal(run.net[0].weight, before)


def test_a_net_that_goes_to_float64_in_mid_training_goes_on(make):
    run = make("rigl").train(4)
    run.net.double()
    run.dtype = torch.float64
    run.train(8)
    assert len(run.sparse()) == 3 and all(param.dtype == torch.float64 for param in run.net.parameters())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_compiled_net_computes_and_trains_as_the_accelerated_one(make, alike, when):
    plain, run = make("rigl", "adamw"), make("rigl", "adamw", accelerated=when == "after")
    run.call = torch.compile(run.net, backend="aot_eager")
    if when == "before":
        run.call(torch.ones(20, 12))
        run.net.load_state_dict(plain.net.state_dict())  # running statistics
        run.acceleration = lpss.accelerate(run.net, run.method)
    assert alike(run.train(5), plain.train(5), 1e-5) and len(run.sparse()) == 3
    torch._dynamo.reset()


@pytest.mark.skipif(loader.library() is None, reason="no C compiler here")
def test_threads_change_no_bit_between_topology_updates(make, alike, threads):
    threads(1)
    one = make("static", "lpsgd_m", "cnn").train(5)
    threads(2)
    two = make("static", "lpsgd_m", "cnn").train(5)
    assert alike(one, two)


def test_several_processes_train_dense(make, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert set(make("static").acceleration.dense.values()) == {"several processes share the training"}


def test_nothing_is_logged_of_training_as_usual(make, caplog):
    run = make("lpss", "lpsgd_m")
    with caplog.at_level(logging.INFO):
        run.train(12)
    assert not caplog.records
