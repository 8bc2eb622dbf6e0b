"""The L_p penalty on weights off the sphere."""

import pytest
import torch
from torch import nn

from lpss import CSGD, LpSGD, LpSGDm, sphere
from lpss.optim.penalty import gradient, proximal


@pytest.mark.parametrize("c", [1e-8, 1e-4, 0.1, 1.0])
@pytest.mark.parametrize("p", [1.05, 1.2, 1.5, 1.9, 2.0, 2.5, 4.0])
def test_the_proximal_step_solves_its_equation(p, c):
    w = torch.cat([torch.logspace(-6, 1, 50, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    w = torch.cat([w, -w])
    u = proximal(w, c, p)
    assert (u + c * sphere.signed_power(u, p - 1) - w).abs().max() < 1e-9
    assert (u.abs() <= w.abs() + 1e-15).all() and ((u == 0) | (u.sign() == w.sign())).all()
    assert (u[:50].diff() >= 0).all()  # monotone in w
    assert not u[w == 0].any()


def test_p_1_is_soft_thresholding_and_p_2_weight_decay_in_closed_form():
    w = torch.tensor([-2.0, -0.3, 0.0, 0.4, 1.5])
    assert proximal(w, 0.5, 1).tolist() == [-1.5, 0.0, 0.0, 0.0, 1.0]
    torch.testing.assert_close(proximal(w, 0.25, 2), w / 1.25)
    torch.testing.assert_close(gradient(w, 0.5, 1), 0.5 * w.sign())
    torch.testing.assert_close(gradient(w, 0.5, 3.0), 0.5 * w * w.abs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1.05, 1.2, 1.5, 3.0])
def test_no_strength_leaves_weights_alone_and_nothing_becomes_nan(p, dtype):
    w = torch.tensor([1e-30, -1e-6, 0.0, 3.0, -50.0], dtype=dtype)
    torch.testing.assert_close(proximal(w, 0.0, p), w)
    assert torch.isfinite(proximal(w, 10.0, p)).all()
    torch.testing.assert_close(proximal(w, torch.tensor(0.1), p), proximal(w, 0.1, p))  # a learning rate in a tensor


@pytest.mark.parametrize("optimizer_class", [LpSGD, LpSGDm, CSGD])
def test_a_gradient_step_at_p_2_is_weight_decay(optimizer_class):
    def run(**options):
        torch.manual_seed(0)
        weight, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
        optimizer = optimizer_class([{"params": [weight]} | options, {"params": [bias]}], lr=0.1, p=None)
        for _ in range(5):
            weight.grad, bias.grad = torch.ones(4, 3), torch.ones(4)
            optimizer.step()
        return weight.detach(), bias.detach()

    penalised = run(penalty=0.3, penalty_p=2.0, penalty_step="gradient")
    for a, b in zip(penalised, run(weight_decay=0.3), strict=True):
        torch.testing.assert_close(a, b)


def test_biases_and_weights_on_the_sphere_are_not_penalised():
    torch.manual_seed(0)
    weight, free, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
    groups = [{"params": [weight], "p": 1.5}, {"params": [free, bias], "p": None}]
    optimizer = LpSGDm(groups, lr=0.1, p=None, penalty=1.0, penalty_p=1.5)
    before = [x.detach().clone() for x in (weight, free, bias)]
    for x in (weight, free, bias):
        x.grad = torch.zeros_like(x)
    optimizer.step()
    assert torch.equal(weight, before[0]) and torch.equal(bias, before[2])
    torch.testing.assert_close(free.detach(), proximal(before[1], 0.1, 1.5))


@pytest.mark.parametrize(
    "options", [{"penalty": -1.0}, {"penalty": float("nan")}, {"penalty_p": 0.5}, {"penalty_step": "half"}]
)
def test_wrong_penalties_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LpSGD([nn.Parameter(torch.randn(4, 3))], lr=0.1, p=None, **options)
