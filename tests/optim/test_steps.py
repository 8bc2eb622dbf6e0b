"""The steps as functions, then the optimizers' exact steps from 50-digit arithmetic: copied here, and from the file
where it is at hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lpss import LpSGD, LpSGDm, sphere
from lpss.optim.scratch import Scratch
from lpss.optim.steps import latent_of_weight, lpsgd_step, lpsgdm_step

COPIED = [
    {
        "p": 1.5,
        "eta": 0.1,
        "gamma": 0.9,
        "w0": [0.7909507730031806, -0.3954753865015903, 0.13182512883386344],
        "grad": [1.0, -2.0, 0.5],
        "mu_prev": [0.1, 0.2, -0.3],
        "lpsgd_w1": [0.8378177809446038, -0.32143879713552487, 0.13731558031608213],
        "v0": [0.8893541325046962, -0.62886833797035, 0.3630773042120141],
        "mu": [1.09, -1.82, 0.23],
        "v1": [0.9090317380108047, -0.5768321076072208, 0.38462379996215806],
        "lpsgdm_w1": [0.8263387007109443, -0.3327352803665884, 0.1479354674973302],
    },
    {
        "p": 1.07,
        "eta": 0.01,
        "gamma": 0.9,
        "w0": [0.6112426128502171, -0.30562130642510854, 0.10187376880836951, 0.05093688440418476],
        "grad": [0.001, -0.002, 0.0005, 0.0001],
        "mu_prev": [0.0, 0.0, 0.0, 0.0],
        "lpsgd_w1": [0.6169732390927386, -0.29829139408106603, 0.10282895823665499, 0.051414479131107194],
        "v0": [0.9661286335105119, -0.920370847280379, 0.8522448119161088, 0.8118807914670938],
        "mu": [0.001, -0.002, 0.0005, 0.0001],
        "v1": [0.9672609949512516, -0.9161258494342618, 0.8551860239390916, 0.8165955267187806],
        "lpsgdm_w1": [0.6215571586452799, -0.2860895288977966, 0.10701313010954451, 0.05532954431901211],
    },
    {
        "p": 3.0,
        "eta": 0.1,
        "gamma": 0.9,
        "w0": [0.9601843908106041, -0.48009219540530207, 0.16003073180176736],
        "grad": [1.0, -2.0, 0.5],
        "mu_prev": [0.1, 0.2, -0.3],
        "lpsgd_w1": [0.9743597450008333, -0.41824918171842934, 0.12164470433968683],
        "v0": [0.921954064356331, -0.23048851608908275, 0.025609835121009197],
        "mu": [1.09, -1.82, 0.23],
        "v1": [0.9553985008475463, -0.16009220310242234, 0.01637431906470167],
        "lpsgdm_w1": [0.9774448837901533, -0.40011523727848997, 0.12796217825866232],
    },
]
_FILE = Path(__file__).parents[3] / "shared/spec/reference/lpsgd_steps.json"
CASES = COPIED + (json.loads(_FILE.read_text()) if _FILE.exists() else [])


def row(values, dtype=torch.float64):
    return torch.tensor([values], dtype=dtype)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-13), (torch.float32, 2e-6)])
@pytest.mark.parametrize("scale", [1.0, 7.5])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"p{case['p']}")
class TestReferenceSteps:
    def test_lpsgd(self, case, scale, dtype, tolerance):
        weight = nn.Parameter(row(case["w0"], dtype) * scale)
        optimizer = LpSGD([weight], lr=case["eta"], p=case["p"])  # puts the weights on the sphere
        torch.testing.assert_close(weight.data, row(case["w0"], dtype), rtol=tolerance, atol=0)
        weight.grad = row(case["grad"], dtype)
        optimizer.step()
        torch.testing.assert_close(weight.data, row(case["lpsgd_w1"], dtype), rtol=tolerance, atol=0)

    def test_lpsgd_m(self, case, scale, dtype, tolerance):
        weight = nn.Parameter(row(case["w0"], dtype) * scale)
        optimizer = LpSGDm([weight], lr=case["eta"], p=case["p"], momentum=case["gamma"])
        torch.testing.assert_close(optimizer.latent(weight), row(case["v0"], dtype), rtol=tolerance, atol=0)
        optimizer.state[weight]["mu"] = row(case["mu_prev"], dtype)
        weight.grad = row(case["grad"], dtype)
        optimizer.step()
        state = optimizer.state[weight]
        torch.testing.assert_close(state["mu"], row(case["mu"], dtype), rtol=tolerance, atol=0)
        torch.testing.assert_close(state["v"], row(case["v1"], dtype), rtol=tolerance, atol=0)
        torch.testing.assert_close(weight.data, row(case["lpsgdm_w1"], dtype), rtol=40 * tolerance, atol=0)


def test_nesterov_moves_along_the_gradient_plus_gamma_mu():
    """By hand at p = 2, where v = w: mu+ = gamma mu + g, direction g + gamma mu+."""
    weight = nn.Parameter(row([0.6, 0.8]))
    optimizer = LpSGDm([weight], lr=0.25, p=2, momentum=0.5, nesterov=True)
    optimizer.state[weight]["mu"] = row([2.0, 0.0])
    weight.grad = row([1.0, 4.0])
    optimizer.step()
    # mu+ = (2, 4); direction = (1, 4) + .5 (2, 4) = (2, 6); t = .75 (.6, .8) - .25 (2, 6) / sqrt 40
    t = torch.tensor([0.45 - 0.5 / 40**0.5, 0.6 - 1.5 / 40**0.5], dtype=torch.float64)
    assert optimizer.state[weight]["mu"].tolist() == [[2.0, 4.0]]
    torch.testing.assert_close(weight.data[0], t / t.norm(), rtol=1e-14, atol=0)


# --- the functions ------------------------------------------------------------------------------------------------


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def signed(x, a):
    return x.sign() * x.abs().pow(a)


def norm(x, p):
    return x.abs().pow(p).flatten(1).sum(1).pow(1 / p).view(-1, *[1] * (x.dim() - 1))


@pytest.mark.parametrize("shape", [(4, 7), (3, 2, 3, 3)])
@pytest.mark.parametrize("p", [1.1, 1.2, 1.5, 2.0, 3.0])
def test_lpsgd_step_is_equations_9_to_13_as_printed(p, shape):
    q, eta = p / (p - 1), 0.1
    w, g = sphere.normalize(randn(*shape), p), randn(*shape, seed=1)
    delta = signed(g / norm(g, q), q - 1)
    t = (1 - eta) * w - eta * delta
    assert lpsgd_step(w, g, eta=eta, p=p).item() == 0
    torch.testing.assert_close(w, t / norm(t, p), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("p", [1.1, 1.2, 1.5, 2.0, 3.0])
def test_lpsgdm_step_is_equations_21_to_24_as_printed(p, nesterov):
    q, eta, gamma = p / (p - 1), 0.1, 0.8
    w, mu, g = sphere.normalize(randn(4, 7), p), randn(4, 7, seed=1), randn(4, 7, seed=2)
    v = latent_of_weight(w, p)
    torch.testing.assert_close(v, signed(w, p - 1), rtol=1e-12, atol=0)
    mu_next = gamma * mu + g
    direction = g + gamma * mu_next if nesterov else mu_next
    t = (1 - eta) * v - eta * direction / norm(direction, q)
    v_next = t / norm(t, q)
    assert lpsgdm_step(w, v, mu, g, eta=eta, p=p, gamma=gamma, nesterov=nesterov).item() == 0
    torch.testing.assert_close(mu, mu_next, rtol=1e-12, atol=0)
    torch.testing.assert_close(v, v_next, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(w, signed(v_next, q - 1), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("capturable", [False, True])
def test_neurons_that_stay(capturable):
    """A gradient of zeros keeps w and v, NaN or inf keep mu too, and only the latter are counted."""
    w = sphere.normalize(randn(4, 5, dtype=torch.float32), 1.5)
    v, mu, g = latent_of_weight(w, 1.5), torch.zeros(4, 5), randn(4, 5, seed=1, dtype=torch.float32)
    g[0], g[1, 2], g[2, 0] = 0, float("nan"), float("-inf")
    plain, before = w.clone(), [x.clone() for x in (w, v, mu, w)]
    assert lpsgdm_step(w, v, mu, g, eta=0.1, p=1.5, gamma=0.9, capturable=capturable).item() == 2
    assert lpsgd_step(plain, g, eta=0.1, p=1.5, capturable=capturable).item() == 2
    for now, then in zip((w, v, mu, plain), before, strict=True):
        assert [torch.equal(a, b) for a, b in zip(now, then, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_capturable_tensor_rates_and_used_memory_change_no_bit(dtype):
    results = []
    scratch = Scratch()
    for eta, options in ((0.25, {}), (torch.tensor(0.25), {"capturable": True}), (0.25, {"scratch": scratch})):
        scratch.like(randn(9, 9), 4)[0].fill_(float("nan"))
        w = sphere.normalize(randn(4, 7).float(), 1.2).to(dtype)
        v, mu = latent_of_weight(w, 1.2), torch.zeros_like(latent_of_weight(w, 1.2))
        assert v.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        plain = w.clone()
        for seed in range(4):
            grad = randn(4, 7, seed=seed, dtype=dtype)
            lpsgdm_step(w, v, mu, grad, eta=eta, p=1.2, gamma=0.9, **options)
            lpsgd_step(plain, grad, eta=eta, p=1.2, **options)
        results.append((w, v, mu, plain))
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))
