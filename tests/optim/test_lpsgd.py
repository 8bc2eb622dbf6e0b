"""What LpSGD and LpSGD-m do to weights on the sphere: invariants, convergence, and gradients that are not ordinary."""

import copy
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from lpss import LpSGD, LpSGDm, sphere

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


# --- invariants -------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("p", [1.05, 1.07, 1.2, 4 / 3, 1.5, 2.0, 3.0, 10.0])
def test_weights_stay_on_the_sphere_in_float64(optimizer_class, p):
    weight = parameter(3, 2, 5, 5)
    optimizer = optimizer_class([weight], lr=0.1, p=p)
    assert (norms(weight, p) - 1).abs().max() < 1e-13
    run(optimizer, weight, [randn(3, 2, 5, 5, seed=s) for s in range(1, 60)])
    assert weight.dtype == torch.float64 and all(s.dtype == torch.float64 for s in optimizer.state[weight].values())
    assert (norms(weight, p) - 1).abs().max() < 1e-12
    if optimizer_class is LpSGDm:
        v = optimizer.latent(weight)
        assert (norms(v, sphere.dual_exponent(p)) - 1).abs().max() < 1e-12
        expected = v.sign() * v.abs().pow(sphere.dual_exponent(p) - 1)
        torch.testing.assert_close(weight.data, expected, rtol=1e-10, atol=1e-300)


@BOTH
@pytest.mark.parametrize(
    "p, tolerance",
    [(1.03, 1e-4), (1.05, 1e-4), (1.1, 1e-4), (1.2, 1e-5), (1.3333333, 1e-5), (1.45, 1e-5), (2.0, 1e-5), (10.0, 1e-5)],
)
@pytest.mark.parametrize("scale", [1e-8, 1e-5, 1e-2, 1.0, 1e3])
def test_weights_stay_on_the_sphere_in_float32(optimizer_class, p, tolerance, scale):
    for fan_in in (3, 288):
        weight = parameter(4, fan_in, dtype=torch.float32)
        optimizer = optimizer_class([weight], lr=0.05, p=p)
        before = weight.detach().clone()
        run(optimizer, weight, [randn(4, fan_in, seed=s, dtype=torch.float32) * scale for s in range(1, 9)])
        assert (norms(weight, p) - 1).abs().max() < tolerance
        assert (norms(weight - before, 2) > 1e-3).all()  # every neuron has moved


@BOTH
@pytest.mark.parametrize("p", [1.05, 1.2, 3.0])
@pytest.mark.parametrize("scale", [1e-8, 1e3])
def test_float32_follows_float64_at_any_scale_of_the_gradient(optimizer_class, p, scale):
    grads = [randn(4, 30, seed=s) for s in range(1, 9)]
    exact, single = parameter(4, 30), parameter(4, 30, dtype=torch.float32)
    run(optimizer_class([exact], lr=0.05, p=p), exact, grads)
    run(optimizer_class([single], lr=0.05, p=p), single, [(grad * scale).float() for grad in grads])
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-5)


def test_p_2_is_the_normalised_gradient_step_with_projection():
    grads = [randn(3, 6, seed=s) for s in range(1, 51)]
    results = []
    for optimizer_class in (LpSGD, LpSGDm):
        weight = parameter(3, 6)
        results.append(run(optimizer_class([weight], lr=0.1, p=2, momentum=0.0), weight, grads))
    w = randn(3, 6)
    w = w / w.norm(dim=1, keepdim=True)
    for grad in grads:
        w = 0.9 * w - 0.1 * grad / grad.norm(dim=1, keepdim=True)
        w = w / w.norm(dim=1, keepdim=True)
    torch.testing.assert_close(results[0], w, rtol=0, atol=2e-15)
    torch.testing.assert_close(results[1], w, rtol=0, atol=2e-15)


@BOTH
@pytest.mark.parametrize("p", [1.07, 1.5, 3.0])
def test_the_scale_of_the_gradients_does_not_matter(optimizer_class, p):
    grads = [randn(3, 6, seed=s) for s in range(1, 20)]
    results = []
    for scale in (1.0, 1e-12, 1e12):
        weight = parameter(3, 6)
        results.append(run(optimizer_class([weight], lr=0.1, p=p), weight, [grad * scale for grad in grads]))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=1e-12)


@BOTH
def test_lpsgd_may_scale_each_gradient_and_lpsgd_m_must_not(optimizer_class):
    """The history of LpSGD-m weighs gradients by their size; LpSGD forgets it at every step."""
    grads = [randn(3, 6, seed=s) for s in range(1, 20)]
    weights = [parameter(3, 6), parameter(3, 6)]
    a = run(optimizer_class(weights[:1], lr=0.1, p=1.5), weights[0], grads)
    b = run(optimizer_class(weights[1:], lr=0.1, p=1.5), weights[1], [grad * 2**i for i, grad in enumerate(grads)])
    assert torch.allclose(a, b, rtol=0, atol=1e-12) == (optimizer_class is LpSGD)


@BOTH
@pytest.mark.parametrize("p", [1.07, 1.5, 3.0])
def test_signs_and_order_of_inputs_do_not_matter(optimizer_class, p):
    grads = [randn(3, 6, seed=s) for s in range(1, 20)]
    sign, order = torch.tensor([1.0, -1, -1, 1, -1, 1], dtype=torch.float64), torch.tensor([3, 1, 0, 5, 4, 2])
    plain, turned = parameter(3, 6), nn.Parameter((randn(3, 6) * sign)[:, order])
    a = run(optimizer_class([plain], lr=0.1, p=p), plain, grads)
    b = run(optimizer_class([turned], lr=0.1, p=p), turned, [(grad * sign)[:, order] for grad in grads])
    torch.testing.assert_close(b, (a * sign)[:, order], rtol=0, atol=1e-13)


@BOTH
@pytest.mark.parametrize("p", [1.07, 1.5, 3.0])
@pytest.mark.parametrize("eta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_fixed_point(optimizer_class, p, eta):
    weight = parameter(3, 6)
    optimizer = optimizer_class([weight], lr=eta, p=p)
    before = weight.detach().clone()
    grad = -3.7 * sphere.signed_power(before, p - 1)
    run(optimizer, weight, [grad] * 3)
    torch.testing.assert_close(weight.data, before, rtol=0, atol=1e-13)


@BOTH
@pytest.mark.parametrize("p", [1.07, 1.5, 3.0])
def test_eta_1_gives_minus_delta(optimizer_class, p):
    weight, grad = parameter(3, 6), randn(3, 6, seed=1)
    run(optimizer_class([weight], lr=1.0, p=p), weight, [grad])
    q = sphere.dual_exponent(p)
    unit = grad / norms(grad, q).unsqueeze(1)
    torch.testing.assert_close(weight.data, -unit.sign() * unit.abs().pow(q - 1), rtol=1e-10, atol=0)


@BOTH
def test_a_step_onto_zero_keeps_the_old_weights(optimizer_class):
    weight = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    optimizer = optimizer_class([weight], lr=0.5, p=1.5)
    weight.grad = torch.tensor([[2.0, 0.0], [3.0, 0.0]])  # row 0: w = Delta at eta = 1/2, so t = 0
    optimizer.step()
    assert weight[0].tolist() == [1.0, 0.0]
    if optimizer_class is LpSGDm:
        assert optimizer.latent(weight)[0].tolist() == [1.0, 0.0]
    assert weight[1, 0] < -0.1 and weight[1, 1] > 0.1


# --- convergence ------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("p", [1.2, 1.3, 2.0, 3.0])
def test_convergence_to_the_constrained_optimum(optimizer_class, p):
    """R(w) = 1/2 (w-c)' A (w-c) with c outside the ball, against scipy's SLSQP."""
    rng = np.random.default_rng(0)
    square = rng.normal(size=(10, 10))
    a, c = square @ square.T / 10 + np.eye(10) / 2, rng.normal(size=10)
    c *= 2 / np.sum(np.abs(c) ** p) ** (1 / p)

    def risk(w):
        return 0.5 * (w - c) @ a @ (w - c)

    on_sphere = {
        "type": "eq",
        "fun": lambda w: np.sum(np.abs(w) ** p) - 1,
        "jac": lambda w: p * np.sign(w) * np.abs(w) ** (p - 1),
    }
    start = c / 2
    for ftol in (1e-8, 1e-12, 1e-14):  # SLSQP may call its last, vain line search a failure: judge the point it gives
        best = minimize(
            risk,
            start,
            jac=lambda w: a @ (w - c),
            method="SLSQP",
            constraints=on_sphere,
            options={"ftol": ftol, "maxiter": 1000},
        )
        start = best.x
    assert abs(on_sphere["fun"](best.x)) < 1e-9
    weight = parameter(1, 10)
    optimizer = optimizer_class([weight], lr=0.1, p=p, momentum=0.5)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 600) ** 2 + 1e-4
        weight.grad = torch.from_numpy((weight.detach().numpy() - c) @ a)
        optimizer.step()
    assert abs(risk(weight.detach().numpy()[0]) - best.fun) < 1e-9
    delta = sphere.dual_pair(weight.grad, p)[1]
    torch.testing.assert_close(weight.data, -delta, rtol=0, atol=1e-7)


# --- gradients that are zero, NaN, inf or at the ends of float32 ------------------------------------------------


@BOTH
@pytest.mark.parametrize("p", [1.07, 1.2])
def test_a_zero_gradient_keeps_the_weights_bitwise(optimizer_class, p):
    weight = parameter(4, 3, 3, 3, dtype=torch.float32)
    optimizer = optimizer_class([weight], lr=0.1, p=p)
    before = weight.detach().clone()
    grad = randn(4, 3, 3, 3, dtype=torch.float32)
    grad[1] = 0
    run(optimizer, weight, [grad, torch.zeros_like(grad)])
    moved = [not torch.equal(a, b) for a, b in zip(weight, before, strict=True)]
    assert moved == [True, False, True, True]
    assert optimizer.nonfinite_neurons == 0


@BOTH
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_neuron_without_a_finite_gradient_is_kept_counted_and_reported(optimizer_class, bad):
    weight = parameter(4, 5, dtype=torch.float32)
    optimizer = optimizer_class([weight], lr=0.1, p=1.2)
    run(optimizer, weight, [randn(4, 5, seed=1, dtype=torch.float32)])
    before, state = weight.detach().clone(), copy.deepcopy(dict(optimizer.state[weight]))
    grad = randn(4, 5, seed=2, dtype=torch.float32)
    grad[2, 3] = bad
    weight.grad = grad
    with pytest.warns(RuntimeWarning, match="^1 neurons have a gradient with NaN or inf"):
        optimizer.step()
    for now, then in [(weight, before)] + [(optimizer.state[weight][key], state[key]) for key in state]:
        assert [torch.equal(a, b) for a, b in zip(now, then, strict=True)] == [False, False, True, False]
    assert optimizer.nonfinite_neurons == 1
    assert torch.isfinite(weight).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once for the step it happened in
        run(optimizer, weight, [randn(4, 5, seed=3, dtype=torch.float32)])
    assert not torch.equal(weight[2], before[2])
    with pytest.warns(RuntimeWarning, match="^4 neurons"):
        run(optimizer, weight, [torch.full((4, 5), bad)])
    assert optimizer.nonfinite_neurons == 5


@BOTH
@pytest.mark.parametrize("p", [1.07, 1.2, 1.5])
def test_a_unit_that_dies_keeps_finite_weights_while_its_momentum_decays_to_nothing(optimizer_class, p):
    weight = parameter(6, 50, dtype=torch.float32)
    optimizer = optimizer_class([weight], lr=0.02, p=p)
    for step in range(1200):  # 0.9^1000 is far below the smallest float32
        weight.grad = randn(6, 50, dtype=torch.float32)
        weight.grad[:4] *= 0 if step else 1
        optimizer.step()
        if step % 100 == 0:
            optimizer.param_groups[0]["lr"] *= 0.7
    assert torch.isfinite(weight).all() and optimizer.nonfinite_neurons == 0
    norms = torch.linalg.vector_norm(weight.detach().double(), p, dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-5)


@BOTH
@pytest.mark.parametrize("scale", [1e-44, 1e-40, 1e-37, 1e36])
def test_gradients_at_the_ends_of_float32(optimizer_class, scale):
    weight = parameter(3, 20, dtype=torch.float32)
    optimizer = optimizer_class([weight], lr=0.1, p=1.2)
    before = weight.detach().clone()
    for _ in range(5):
        weight.grad = scale * randn(3, 20, dtype=torch.float32).clamp(-3, 3)
        optimizer.step()
    assert torch.isfinite(weight).all() and not torch.equal(before, weight)
    norms = torch.linalg.vector_norm(weight.detach().double(), 1.2, dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-5)


# --- v, the tensor that LpSGD-m moves ---------------------------------------------------------------------------


def test_reset_latent_reads_v_off_the_weights():
    weight = parameter(2, 4)
    optimizer = LpSGDm([weight], lr=0.1, p=1.5)
    run(optimizer, weight, [randn(2, 4, seed=1)])
    with torch.no_grad():
        weight.copy_(torch.tensor([[2.0, 0, 0, 0], [-1, 1, 0, 0]]))
    optimizer.reset_latent(weight)
    expected = torch.tensor([[1.0, 0, 0, 0], [-(2 ** (-1 / 3)), 2 ** (-1 / 3), 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(optimizer.latent(weight), expected, rtol=1e-14, atol=0)
    # without the reset, v would pull the weights back to where they were
    optimizer.state[weight]["mu"].zero_()
    run(optimizer, weight, [torch.zeros(2, 4, dtype=torch.float64)])
    assert weight.tolist() == [[2.0, 0, 0, 0], [-1, 1, 0, 0]]


@BOTH
def test_latent_and_retract(optimizer_class):
    weight, bias = parameter(2, 4), parameter(2, 2)
    optimizer = optimizer_class([{"params": [weight]}, {"params": [bias], "p": None}], lr=0.1, p=1.5)
    run(optimizer, weight, [randn(2, 4, seed=1)])
    w = weight.detach().clone()
    torch.testing.assert_close(optimizer.to_latent(weight, w), optimizer.latent(weight), rtol=1e-12, atol=0)
    assert torch.equal(optimizer.to_latent(bias, bias.data), bias)
    with torch.no_grad():
        optimizer.latent(weight)[:, 2] = 0
        optimizer.latent(bias).mul_(3)
    optimizer.retract(weight)
    optimizer.retract(bias)
    assert torch.equal(bias, 3 * randn(2, 2))  # no sphere, no retraction
    w[:, 2] = 0
    torch.testing.assert_close(weight.data, w / norms(w, 1.5).unsqueeze(1), rtol=1e-12, atol=0)
    if optimizer_class is LpSGDm:
        torch.testing.assert_close(norms(optimizer.latent(weight), 3.0), torch.ones(2, dtype=torch.float64))
    assert optimizer.p_of(weight) == 1.5 and optimizer.p_of(bias) is None
    with pytest.raises(KeyError, match=r"shape \(7, 7\)"):
        optimizer.p_of(torch.ones(7, 7))
