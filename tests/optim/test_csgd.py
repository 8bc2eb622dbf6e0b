"""cSGD: tangent spaces, retraction, and its exact tie to LpSGD at p = 2."""

import pytest
import torch
from torch import nn

from lpss import CSGD, LpSGD, sphere


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def norms(x, p):
    return x.detach().double().flatten(1).abs().pow(p).sum(1).pow(1 / p)


def stepped(weight, grad, **options):
    weight = nn.Parameter(weight.clone())
    optimizer = CSGD([weight], **options)
    weight.grad = grad.clone()
    optimizer.step()
    return weight.detach(), optimizer


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("p", [1.1, 1.4, 2.0, 4.0])
def test_neurons_stay_on_the_sphere(p, momentum, nesterov):
    weight = nn.Parameter(randn(5, 3, 2, 2))
    optimizer = CSGD([weight], lr=0.3, p=p, momentum=momentum, nesterov=nesterov and momentum > 0)
    for step in range(20):
        weight.grad = randn(5, 3, 2, 2, seed=step + 1)
        optimizer.step()
        assert (norms(weight, p) - 1).abs().max() < 1e-12
    assert ("momentum_buffer" in optimizer.state[weight]) == (momentum > 0)


@pytest.mark.parametrize("p", [1.1, 1.5, 2.0, 3.0])
def test_the_momentum_lies_in_the_tangent_space(p):
    start = sphere.normalize(randn(4, 6), p)
    weight = nn.Parameter(start.clone())
    optimizer = CSGD([weight], lr=1e-9, p=p, momentum=0.9)
    weight.grad = randn(4, 6, seed=1)
    optimizer.step()
    normal = sphere.signed_power(start, p - 1)
    assert (normal * optimizer.state[weight]["momentum_buffer"]).sum(1).abs().max() < 1e-12


def test_at_p_2_the_gradients_radial_part_is_taken_away():
    w = sphere.normalize(randn(4, 6), 2.0)
    g = randn(4, 6, seed=1)
    moved, _ = stepped(w, g, lr=0.2, p=2.0, momentum=0.0)
    tangent = g - w * (w * g).sum(1, keepdim=True)
    torch.testing.assert_close(moved, sphere.normalize(w - 0.2 * tangent, 2.0))


def test_the_tie_to_lpsgd_at_p_2():
    w, g = sphere.normalize(randn(50, 7), 2.0), randn(50, 7, seed=1)
    for eta in (0.05, 0.3, 0.6):
        other = nn.Parameter(w.clone())
        optimizer = LpSGD([other], lr=eta, p=2.0)
        other.grad = g.clone()
        optimizer.step()
        # LpSGD goes to (1 - eta) w - eta g / |g|, that is along w - a g; cSGD along (1 + s w.g) w - s g.
        a = eta / ((1 - eta) * g.norm(dim=1))
        denominator = 1 - a * (w * g).sum(1)
        rows = torch.nonzero(denominator > 0.05).flatten().tolist()
        assert len(rows) > 20
        for row in rows:
            lr = float(a[row] / denominator[row])
            moved, _ = stepped(w[row : row + 1], g[row : row + 1], lr=lr, p=2.0, momentum=0.0)
            torch.testing.assert_close(moved[0], other.detach()[row], rtol=0, atol=1e-13)


@pytest.mark.parametrize("p", [1.1, 1.3, 2.0, 4.0])
def test_small_steps_descend_by_their_first_order(p):
    w, target = sphere.normalize(randn(1, 9), p), randn(9, 1, seed=3)

    def loss(w):
        return (w @ target).sin().sum()

    variable = w.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(variable), variable)
    normal = sphere.signed_power(w, p - 1)
    tangent = g - normal * (normal * g).sum() / normal.square().sum()
    for lr in (1e-5, 1e-6):
        moved, _ = stepped(w, g, lr=lr, p=p, momentum=0.0)
        assert ((loss(w) - loss(moved)) / lr).item() == pytest.approx(tangent.square().sum().item(), rel=1e-2)


def test_gradients_of_zero_and_nan_leave_weights_alone():
    w = sphere.normalize(randn(3, 4, dtype=torch.float32), 1.5)
    g = randn(3, 4, seed=1, dtype=torch.float32)
    g[0] = 0
    g[1, 2] = torch.nan
    with pytest.warns(RuntimeWarning, match="1 neurons have a gradient with NaN or inf"):
        moved, optimizer = stepped(w, g, lr=0.2, p=1.5, momentum=0.9)
    start = sphere.normalize(w, 1.5)
    assert torch.equal(moved[:2], optimizer.param_groups[0]["params"][0].detach()[:2])
    torch.testing.assert_close(moved[:2], start[:2])
    assert not torch.equal(moved[2], start[2]) and torch.isfinite(moved).all()
    assert optimizer.nonfinite_neurons == 1


def test_masked_entries_stay_zero_with_their_momentum():
    mask = torch.rand(6, 10, generator=torch.Generator().manual_seed(0)) < 0.4
    weight = nn.Parameter(randn(6, 10) * mask)
    optimizer = CSGD([weight], lr=0.2, p=1.4)
    for step in range(10):
        weight.grad = randn(6, 10, seed=step) * mask
        optimizer.step()
    assert not weight[~mask].any() and not optimizer.state[weight]["momentum_buffer"][~mask].any()


def test_its_learning_rate_may_be_larger_than_1_and_that_of_lpsgd_not():
    weight = nn.Parameter(randn(3, 4))
    CSGD([weight], lr=5.0, p=1.5)
    with pytest.raises(ValueError, match="is eta of eq"):
        LpSGD([weight], lr=5.0, p=1.5)
    with pytest.raises(ValueError, match="lr must be a finite number"):
        CSGD([weight], lr=-1.0, p=1.5)


def test_neurons_in_dim_1_are_neurons():
    w, g = randn(6, 4), randn(6, 4, seed=1)
    across = nn.Parameter(w.t().clone())
    optimizer = CSGD([{"params": [across], "neuron_dim": 1}], lr=0.3, p=1.5)
    for _ in range(2):
        across.grad = g.t().clone()
        optimizer.step()
    along = nn.Parameter(w.clone())
    optimizer = CSGD([along], lr=0.3, p=1.5)
    for _ in range(2):
        along.grad = g.clone()
        optimizer.step()
    torch.testing.assert_close(across.detach().t(), along.detach())
