"""The convergence script: its formulas against steps of the optimizers, and a small table."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import lpss
from lpss import sphere

PATH = Path(__file__).resolve().parents[2] / "scripts" / "convergence.py"
TINY = 1e-7


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("convergence")


@pytest.fixture
def drawn(script):
    """drawn(p) -> 20 problems and a point on the sphere for each."""

    def draw(p: float):
        generator = torch.Generator().manual_seed(3)
        toy = script.Toy.draw(20, p, 2.0, generator)
        return toy, sphere.normalize(script.normal(20, script.DIM, generator=generator), p)

    return draw


def change(optimizer: type, toy, start, p: float, **options):
    """(R after - R before) / eta of one step with a tiny eta: dR/dt."""
    w = torch.nn.Parameter(start.clone())
    own = optimizer([w], lr=TINY, p=p, **options)
    w.grad = toy.gradient(w.detach())
    before = toy.risk(w.detach())
    own.step()
    return (toy.risk(w.detach()) - before) / TINY


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
def test_the_rates_are_those_of_the_optimizers(script, drawn, p):
    toy, w = drawn(p)
    _, rate, _ = script.flow(toy, w, p)
    torch.testing.assert_close(rate, change(lpss.LpSGD, toy, w, p), rtol=1e-4, atol=1e-6)
    rate_m = script.flow_m(toy, w, p)
    torch.testing.assert_close(rate_m, change(lpss.LpSGDm, toy, w, p, momentum=0.0), rtol=5e-3, atol=1e-5)
    assert (rate < 0).all() and (rate_m < 0).all()


def test_the_gradient_is_the_risks(script, drawn):
    toy, w = drawn(1.5)
    w.requires_grad_()
    (own,) = torch.autograd.grad(toy.risk(w).sum(), w)
    torch.testing.assert_close(own, toy.gradient(w.detach()))


def test_beta_is_the_largest_eigenvalue_at_p_2_and_above_all_others_elsewhere(script, drawn):
    generator = torch.Generator().manual_seed(0)
    toy, _ = drawn(2.0)
    torch.testing.assert_close(toy.beta(2.0, generator)[:, 0], torch.linalg.eigvalsh(toy.A)[:, -1], rtol=1e-3, atol=0)
    u = sphere.normalize(script.normal(20, script.DIM, 500, generator=generator).mT.reshape(-1, script.DIM), 1.3)
    many = toy.repeat(500)
    curvature = (u * (many.A @ u.unsqueeze(2)).squeeze(2)).sum(1).view(20, 500).amax(1)
    assert (curvature < toy.beta(1.3, generator)[:, 0]).all()


def test_a_step_within_the_bound_falls_and_one_far_above_may_not(script, drawn):
    toy, w = drawn(1.2)
    eta = script.bound(toy, w, 1.2, toy.beta(1.2, torch.Generator().manual_seed(0))).clamp(max=1)
    assert not script.raises(toy, w, 1.2, 0.5 * eta).any()
    minimum, _ = script.best(toy, script.descend(lpss.LpSGDm, toy.repeat(8), 1.2, w.repeat_interleave(8, 0), 500))
    assert script.raises(toy, sphere.normalize(minimum + 1e-3 * w, 1.2), 1.2, torch.full_like(eta, 0.99)).any()


def test_a_small_table(script, tmp_path, capsys):
    output = tmp_path / "new" / "convergence.csv"
    arguments = "--p 1.2 2 --problems 2 --trials 2000 --steps 1500 --output".split()
    assert script.main([*arguments, str(output)]) == 0
    table = pd.read_csv(output)
    assert list(zip(table["minimum"], table["p"], strict=True)) == [
        ("outside", 1.2),
        ("outside", 2.0),
        ("inside", 1.2),
        ("inside", 2.0),
    ]
    out = capsys.readouterr().out
    assert out.startswith("| minimum") and str(output) in out

    outside, inside = table[:2], table[2:]
    assert (outside[["gap_lpsgd", "gap_lpsgd_m"]].abs() < 1e-12).all(axis=None)
    assert (inside[["gap_lpsgd", "gap_lpsgd_m"]].iloc[1].abs() < 1e-6).all()  # p = 1.2 has minima of about the same R
    assert outside["sign"].eq(-1).all() and inside["sign"].eq(1).all() and (table["residual"] < 1e-4).all()
    assert (table[["rate_lpsgd", "rate_lpsgd_m"]] < 0).all(axis=None) and (table["rate_minimum"] < 1e-9).all()
    assert (outside["fails_random"] < 0.01).all() and inside["fails_random"].iloc[1] > 0.1
    assert (table["fails_at"] >= table["fails_random"]).all() and (table["bound_near"] > 1e-3).all()


@pytest.mark.parametrize("arguments, named", [("--p 1", "p must"), ("--p 1.5 --steps 0", "--steps must")])
def test_a_wrong_value_is_one_line(script, arguments, named, capsys):
    assert script.main(arguments.split()) == 2
    assert named in capsys.readouterr().err
