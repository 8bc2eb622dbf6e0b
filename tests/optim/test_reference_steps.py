"""The optimizers' exact steps, from 50-digit arithmetic: copied here, and from the file where it is at hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lpss import LpSGD, LpSGDm

COPIED = [
    {"p": 1.5, "eta": 0.1, "gamma": 0.9,
     "w0": [0.7909507730031806, -0.3954753865015903, 0.13182512883386344],
     "grad": [1.0, -2.0, 0.5], "mu_prev": [0.1, 0.2, -0.3],
     "lpsgd_w1": [0.8378177809446038, -0.32143879713552487, 0.13731558031608213],
     "v0": [0.8893541325046962, -0.62886833797035, 0.3630773042120141],
     "mu": [1.09, -1.82, 0.23],
     "v1": [0.9090317380108047, -0.5768321076072208, 0.38462379996215806],
     "lpsgdm_w1": [0.8263387007109443, -0.3327352803665884, 0.1479354674973302]},
    {"p": 1.07, "eta": 0.01, "gamma": 0.9,
     "w0": [0.6112426128502171, -0.30562130642510854, 0.10187376880836951, 0.05093688440418476],
     "grad": [0.001, -0.002, 0.0005, 0.0001], "mu_prev": [0.0, 0.0, 0.0, 0.0],
     "lpsgd_w1": [0.6169732390927386, -0.29829139408106603, 0.10282895823665499, 0.051414479131107194],
     "v0": [0.9661286335105119, -0.920370847280379, 0.8522448119161088, 0.8118807914670938],
     "mu": [0.001, -0.002, 0.0005, 0.0001],
     "v1": [0.9672609949512516, -0.9161258494342618, 0.8551860239390916, 0.8165955267187806],
     "lpsgdm_w1": [0.6215571586452799, -0.2860895288977966, 0.10701313010954451, 0.05532954431901211]},
    {"p": 3.0, "eta": 0.1, "gamma": 0.9,
     "w0": [0.9601843908106041, -0.48009219540530207, 0.16003073180176736],
     "grad": [1.0, -2.0, 0.5], "mu_prev": [0.1, 0.2, -0.3],
     "lpsgd_w1": [0.9743597450008333, -0.41824918171842934, 0.12164470433968683],
     "v0": [0.921954064356331, -0.23048851608908275, 0.025609835121009197],
     "mu": [1.09, -1.82, 0.23],
     "v1": [0.9553985008475463, -0.16009220310242234, 0.01637431906470167],
     "lpsgdm_w1": [0.9774448837901533, -0.40011523727848997, 0.12796217825866232]},
]  # fmt: skip
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
