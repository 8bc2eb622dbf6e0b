"""The optimizers as torch optimizers: state, copies, learning rates, groups off the sphere, and errors."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lpss import LpSGD, LpSGDm, param_groups

BOTH = pytest.mark.parametrize("optimizer_class", [LpSGD, LpSGDm])


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def parameter(*shape, seed=0, dtype=torch.float64):
    return nn.Parameter(randn(*shape, seed=seed, dtype=dtype))


def norms(x, p):
    return x.detach().double().flatten(1).abs().pow(p).sum(1).pow(1 / p)


def run(optimizer, weight, grads):
    for grad in grads:
        weight.grad = grad.clone()
        optimizer.step()
    return weight.detach().clone()


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))


def train(net, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x, y = torch.randn(8, 1, 6, 6, generator=generator), torch.randint(3, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


# --- state ------------------------------------------------------------------------------------------------------


def make(optimizer_class, net):
    return optimizer_class(param_groups(net, 1.2), lr=0.05, p=None, nesterov=True, weight_decay=1e-3)


@BOTH
def test_state_dict_round_trip_continues_bitwise(optimizer_class):
    net = small_net()
    optimizer = make(optimizer_class, net)
    train(net, optimizer, 5)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(net, optimizer, 5, seed=1)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = small_net(seed=9)
    restored = make(optimizer_class, other)
    other.load_state_dict(saved["net"])
    restored.load_state_dict(saved["optimizer"])
    train(other, restored, 5, seed=1)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    keys = {key for state in optimizer.state_dict()["state"].values() for key in state}
    assert keys == ({"v", "mu", "momentum_buffer"} if optimizer_class is LpSGDm else {"momentum_buffer"})


@BOTH
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles_continue_bitwise(optimizer_class, clone):
    net = small_net()
    optimizer = make(optimizer_class, net)
    train(net, optimizer, 3)
    other_net, other = clone((net, optimizer))
    train(net, optimizer, 3, seed=1)
    train(other_net, other, 3, seed=1)
    assert other.nonfinite_neurons == 0
    for a, b, c in zip(net.parameters(), other_net.parameters(), small_net().parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_state_of_half_precision_weights_stays_float32_through_a_round_trip():
    weight = parameter(3, 40, dtype=torch.bfloat16)
    optimizer = LpSGDm([weight], lr=1e-3, p=1.2)
    run(optimizer, weight, [randn(3, 40, seed=s, dtype=torch.bfloat16) for s in range(5)])
    assert weight.dtype == torch.bfloat16
    saved = copy.deepcopy(optimizer.state_dict())
    other = nn.Parameter(weight.detach().clone())
    restored = LpSGDm([other], lr=1e-3, p=1.2)
    with torch.no_grad():
        other.copy_(weight)
    restored.load_state_dict(saved)
    for key in ("v", "mu"):
        assert restored.state[other][key].dtype == torch.float32
        assert torch.equal(restored.state[other][key], optimizer.state[weight][key])
    more = [randn(3, 40, seed=s, dtype=torch.bfloat16) for s in range(5, 10)]
    assert torch.equal(run(optimizer, weight, more), run(restored, other, more))
    assert torch.equal(optimizer.latent(weight), restored.latent(other))


def test_small_steps_of_half_precision_weights_add_up():
    """Each step is below bfloat16's resolution; v is float32, so many of them still move the weight."""
    weight = nn.Parameter(torch.tensor([[0.8, 0.6]], dtype=torch.bfloat16))
    optimizer = LpSGDm([weight], lr=1e-4, p=2, momentum=0.0)
    run(optimizer, weight, [torch.tensor([[0.0, -1.0]], dtype=torch.bfloat16)] * 400)
    assert weight[0, 1] > 0.615


def test_weights_loaded_before_the_first_step_are_respected():
    trained, fresh = small_net(1), small_net(2)
    a, b = (make(LpSGDm, net) for net in (trained, fresh))
    fresh.load_state_dict(trained.state_dict())
    train(trained, a, 3)
    train(fresh, b, 3)
    for x, y in zip(trained.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(x, y)


# --- torch's habits ---------------------------------------------------------------------------------------------


@BOTH
def test_closure(optimizer_class):
    weight = parameter(2, 4)
    optimizer = optimizer_class([weight], lr=0.1, p=1.5)
    target = randn(2, 4, seed=1)

    def closure():
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(10)]
    assert losses[-1] < losses[0]
    assert optimizer.step() is None


@BOTH
def test_torch_lr_scheduler(optimizer_class):
    weight, by_hand, grad = parameter(2, 4), parameter(2, 4), randn(2, 4, seed=1)
    optimizer = optimizer_class([weight], lr=0.2, p=1.5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for _ in range(4):
        run(optimizer, weight, [grad])
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    optimizer = optimizer_class([by_hand], lr=0.2, p=1.5)
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 + np.cos(np.pi * step / 4))
        run(optimizer, by_hand, [grad])
    torch.testing.assert_close(weight, by_hand, rtol=1e-12, atol=0)


@BOTH
def test_lr_as_a_tensor(optimizer_class):
    weights = [parameter(2, 4), parameter(2, 4)]
    biases = [parameter(2, seed=3), parameter(2, seed=3)]
    for weight, bias, lr in zip(weights, biases, (0.1, torch.tensor(0.1, dtype=torch.float64)), strict=True):
        optimizer = optimizer_class([{"params": [weight]}, {"params": [bias], "p": None}], lr=lr, p=1.5)
        for step in range(5):
            bias.grad = randn(2, seed=step)
            run(optimizer, weight, [randn(2, 4, seed=step)])
            optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] * 0.5
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(biases[0], biases[1], rtol=1e-12, atol=0)


@BOTH
def test_autocast_forward_with_float32_weights(optimizer_class):
    net = small_net()
    optimizer = make(optimizer_class, net)
    before = copy.deepcopy(net)
    with torch.autocast("cpu", torch.bfloat16):
        train(net, optimizer, 5)
    for param, then in zip(net.parameters(), before.parameters(), strict=True):
        assert param.dtype == torch.float32 and not torch.equal(param, then)
    assert {value.dtype for state in optimizer.state.values() for value in state.values()} == {torch.float32}
    for layer in (net[0], net[3]):
        assert (norms(layer.weight, 1.2) - 1).abs().max() < 1e-5


@BOTH
def test_named_parameters_and_conv_filters(optimizer_class):
    conv = nn.Conv2d(3, 5, 3, bias=False)
    optimizer = optimizer_class(conv.named_parameters(), lr=0.1, p=1.3)
    flat = nn.Parameter(conv.weight.detach().flatten(1).clone())
    flat_optimizer = optimizer_class([flat], lr=0.1, p=1.3)
    grads = [randn(5, 3, 3, 3, seed=s, dtype=torch.float32) for s in range(4)]
    run(optimizer, conv.weight, grads)
    run(flat_optimizer, flat, [grad.flatten(1) for grad in grads])
    torch.testing.assert_close(conv.weight.flatten(1), flat)
    assert (norms(conv.weight, 1.3) - 1).abs().max() < 1e-5


@BOTH
def test_channels_last_weights(optimizer_class):
    plain = parameter(5, 3, 3, 3)
    last = nn.Parameter(plain.detach().clone().to(memory_format=torch.channels_last))
    grads = [randn(5, 3, 3, 3, seed=s) for s in range(4)]
    a = run(optimizer_class([plain], lr=0.1, p=1.3), plain, grads)
    b = run(optimizer_class([last], lr=0.1, p=1.3), last, [g.to(memory_format=torch.channels_last) for g in grads])
    torch.testing.assert_close(b, a, rtol=1e-12, atol=0)


@BOTH
def test_a_parameter_without_gradient_is_left_alone(optimizer_class):
    a, b, bias = parameter(2, 3), parameter(2, 3, seed=1), parameter(2)
    optimizer = optimizer_class([{"params": [a, b]}, {"params": [bias], "p": None}], lr=0.1, p=1.5)
    before = b.detach().clone()
    a.grad = randn(2, 3, seed=5)
    optimizer.step()
    assert torch.equal(b, before) and not optimizer.state[b] and torch.equal(bias, randn(2))


@BOTH
def test_sparse_gradients_are_refused(optimizer_class):
    weight = parameter(2, 3)
    optimizer = optimizer_class([weight], lr=0.1, p=1.5)
    weight.grad = torch.ones(2, 3, dtype=torch.float64).to_sparse()
    with pytest.raises(ValueError, match="sparse gradients"):
        optimizer.step()


# --- groups off the sphere --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
        {"momentum": 0.0, "weight_decay": 0.05},
    ],
)
def test_p_none_is_torch_sgd_bitwise(optimizer_class, options):
    results = []
    for make_one in (
        lambda params: optimizer_class(params, lr=0.3, p=None, **options),
        lambda params: torch.optim.SGD(params, lr=0.3, fused=True, **options),
    ):
        params = [parameter(3, 4, dtype=torch.float32), parameter(5, seed=1, dtype=torch.float32)]
        optimizer = make_one(params)
        for step in range(12):
            for index, param in enumerate(params):
                param.grad = randn(*param.shape, seed=10 * step + index, dtype=torch.float32)
            optimizer.step()
        results.append(params)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@BOTH
def test_mixed_groups_each_have_their_own_options(optimizer_class):
    a, b, bias = parameter(2, 4), parameter(3, 4, seed=1), parameter(3, seed=2)
    optimizer = optimizer_class(
        [
            {"params": [a], "p": 1.2},
            {"params": [b], "lr": 0.0},
            {"params": [bias], "p": None, "lr": 5.0, "momentum": 0.5},
        ],
        lr=0.1,
        p=3,
    )
    before = b.detach().clone()
    for _ in range(2):
        a.grad, b.grad, bias.grad = randn(2, 4, seed=3), randn(3, 4, seed=4), torch.ones(3, dtype=torch.float64)
        optimizer.step()
    assert (norms(a, 1.2) - 1).abs().max() < 1e-12 and (norms(b, 3) - 1).abs().max() < 1e-12
    torch.testing.assert_close(b, nn.Parameter(before), rtol=1e-12, atol=0)
    torch.testing.assert_close(bias.data, randn(3, seed=2) - 5 * (1 + 1.5), rtol=1e-12, atol=0)


# --- errors -----------------------------------------------------------------------------------------------------

WRONG = [
    ({"p": 1.0}, "greater than 1, got 1.0"),
    ({"p": 0.5}, "got 0.5"),
    ({"p": float("inf")}, "got inf"),
    ({"p": float("nan")}, "got nan"),
    ({"p": "x"}, "got 'x'"),
    ({"lr": -0.1}, "lr must be a finite number of at least 0, got -0.1"),
    ({"lr": float("nan")}, "got nan"),
    ({"lr": float("inf")}, "got inf"),
    ({"lr": "0.1"}, "got '0.1'"),
    ({"lr": None}, "lr .*got None"),
    ({"lr": 1.5}, r"\[0, 1\]\S* got 1.5"),
    ({"lr": torch.tensor(1.5)}, r"\[0, 1\]\S* got 1.5"),
    ({"lr": -0.1, "p": None}, "got -0.1"),
    ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
    ({"momentum": -0.5}, "got -0.5"),
    ({"momentum": True}, "got True"),
    ({"weight_decay": -1.0}, "weight_decay .* got -1.0"),
    ({"weight_decay": float("nan")}, "weight_decay .* got nan"),
    ({"p": None, "nesterov": True, "momentum": 0.0}, "nesterov needs a momentum greater than 0"),
]


@BOTH
@pytest.mark.parametrize("options, message", WRONG)
def test_wrong_options_are_named(optimizer_class, options, message):
    with pytest.raises(ValueError, match=message):
        optimizer_class([parameter(2, 3)], **{"lr": 0.1, "p": 1.5} | options)


@BOTH
@pytest.mark.parametrize("options, message", [*WRONG, ({"params": "vector"}, r"shape \(3,\) is in a group with p=1.5")])
def test_a_failed_add_param_group_leaves_the_optimizer_usable(optimizer_class, options, message):
    weight, other = parameter(2, 3), parameter(3) if "params" in options else parameter(4, 3)
    before = other.detach().clone()
    optimizer = optimizer_class([weight], lr=0.1, p=1.5)
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({**options, "params": [other]})
    assert len(optimizer.param_groups) == 1 and torch.equal(other, before)
    start = weight.detach().clone()
    run(optimizer, weight, [randn(2, 3, seed=1)])
    assert not torch.equal(weight, start)
    optimizer.add_param_group({"params": [other], "p": None})  # and the same tensor may join properly
    assert len(optimizer.param_groups) == 2


@BOTH
def test_a_large_lr_is_fine_off_the_sphere_and_refused_when_a_schedule_brings_it_on_it(optimizer_class):
    weight, bias = parameter(2, 3), parameter(2)
    optimizer = optimizer_class([{"params": [weight]}, {"params": [bias], "p": None, "lr": 3.0}], lr=0.1, p=1.5)
    optimizer.param_groups[0]["lr"] = 1.5
    weight.grad = randn(2, 3, seed=1)
    with pytest.raises(ValueError, match=r"p=1.5.* \[0, 1\]\S* got 1.5"):
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("optimizer", [LpSGD, LpSGDm])
def test_weights_that_are_on_the_sphere_already_stay_as_they_are_to_the_last_bit(optimizer, dtype):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(40, 30, dtype=dtype))
    first = optimizer([weight], lr=0.1, p=1.3)
    for _ in range(5):
        weight.grad = torch.randn_like(weight)
        first.step()
    with torch.no_grad():
        weight[3] = 0
    saved = weight.detach().clone()
    optimizer([weight], lr=0.1, p=1.3)
    assert torch.equal(weight, saved)
    with torch.no_grad():
        weight[7] *= 1.5
    optimizer([weight], lr=0.1, p=1.3)
    assert (weight[7].double().abs().pow(1.3).sum() - 1).abs() < 0.02
