#!/usr/bin/env python3
"""Which parts of the paper's convergence theory hold, on R(w) = 1/2 (w-c)'A(w-c) over the unit L_p sphere.

    python scripts/convergence.py [--p 1.1 1.2 1.5 2 3] [--problems 5] [--trials 10000] [--steps 3000]
                                  [--output outputs/figures/convergence.csv]

A line for each p and place of the unconstrained minimum c: outside the ball (||c||_p = 2), where the multiplier has the
sign that the paper assumes, or inside it (||c||_p = 1/2). The columns:

    gap_lpsgd, gap_lpsgd_m    R reached minus R by scipy's SLSQP, the largest over problems, each the best
                              of the same 8 starts (inside, the sphere has several local minima to end in)
    sign, residual            w* = sign Delta(w*), and the largest |w* - sign Delta(w*)| (LpSGD-m)
    rate_lpsgd, rate_lpsgd_m  the largest (dR/dt) / ||g||_q of either flow at random w; Theorem 1: negative
    rate_minimum              the largest |dR/dt| / ||g||_q of LpSGD's flow at w*
    fails_random, fails_at    share of trials in which an LpSGD step raises R, eta being drawn below bound
                              (19) and 1, or just below them
    bound_far, bound_near     median of bound (19) at random w, and at 1e-4 from w*: it does not vanish there
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import lpss
from lpss import sphere
from lpss.cli import run_command
from lpss.files import write_text
from lpss.options import check_range
from lpss.report.grid import markdown_table
from lpss.theory.arguments import exponents

DIM, STARTS = 10, 8
RADIUS = {"outside": 2.0, "inside": 0.5}  # ||c||_p


@dataclass(frozen=True)
class Toy:
    """One problem a row: A (n, d, d) symmetric positive definite, c (n, d)."""

    A: Tensor
    c: Tensor

    @classmethod
    def draw(cls, n: int, p: float, radius: float, generator: torch.Generator) -> "Toy":
        root = normal(n, DIM, DIM, generator=generator)
        A = root @ root.mT / DIM + 0.1 * torch.eye(DIM, dtype=root.dtype)
        return cls(A, radius * sphere.normalize(normal(n, DIM, generator=generator), p))

    def repeat(self, times: int) -> "Toy":
        return Toy(self.A.repeat_interleave(times, 0), self.c.repeat_interleave(times, 0))

    def gradient(self, w: Tensor) -> Tensor:
        return (self.A @ (w - self.c).unsqueeze(2)).squeeze(2)

    def risk(self, w: Tensor) -> Tensor:
        """(n, 1)"""
        return ((w - self.c) * self.gradient(w)).sum(1, keepdim=True) / 2

    def beta(self, p: float, generator: torch.Generator) -> Tensor:
        """(n, 1): the largest u'Au on the unit L_p sphere, which is the constant of eq (16) as the proof uses it.

        By power iteration from 50 starts each: A is positive definite, so that u'Au never falls.
        """
        many = self.repeat(50)
        u = normal(len(many.c), DIM, generator=generator)
        for _ in range(100):
            u = sphere.dual_pair((many.A @ u.unsqueeze(2)).squeeze(2), p)[1]
        values = (u * (many.A @ u.unsqueeze(2)).squeeze(2)).sum(1)
        return values.view(-1, 50).amax(1, keepdim=True)


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# --- the minimum on the sphere ----------------------------------------------------------------------------------


def descend(optimizer: type, toy: Toy, p: float, start: Tensor, steps: int) -> Tensor:
    """Where an optimizer ends up; every row is a neuron with its own problem. eta falls from .3 to 3e-5."""
    w = torch.nn.Parameter(start.clone())
    own = optimizer([w], lr=0.3, p=p)
    for step in range(steps):
        own.param_groups[0]["lr"] = 0.3 * 1e-4 ** (step / steps)
        w.grad = toy.gradient(w.detach())
        own.step()
    return w.detach()


def best(toy: Toy, w: Tensor) -> tuple[Tensor, Tensor]:
    """(n, d) and (n, 1): of the starts of each problem, the end with the smallest R, and that R."""
    risk = toy.repeat(STARTS).risk(w).view(-1, STARTS)
    least, which = risk.min(1, keepdim=True)
    return w.view(-1, STARTS, DIM)[torch.arange(len(which)), which[:, 0]], least


def slsqp(toy: Toy, p: float, start: Tensor) -> Tensor:
    """(n, 1): the smallest R that scipy's SLSQP finds on the sphere from each problem's starts; NaN where it fails."""
    from scipy.optimize import minimize

    def least(A: np.ndarray, c: np.ndarray, starts: np.ndarray) -> float:
        constraint = {
            "type": "eq",
            "fun": lambda w: (np.abs(w) ** p).sum() - 1,
            "jac": lambda w: p * np.sign(w) * np.abs(w) ** (p - 1),
        }
        found = [
            minimize(
                lambda w: (w - c) @ A @ (w - c) / 2,
                w0,
                jac=lambda w: A @ (w - c),
                method="SLSQP",
                constraints=constraint,
                options={"ftol": 1e-16, "maxiter": 1000},
            )
            for w0 in starts
        ]
        on_sphere = [end.fun for end in found if abs((np.abs(end.x) ** p).sum() - 1) < 1e-9]
        return min(on_sphere, default=np.nan)

    rows = zip(toy.A.numpy(), toy.c.numpy(), start.view(-1, STARTS, DIM).numpy(), strict=True)
    return torch.tensor([[least(*row)] for row in rows], dtype=torch.float64)


# --- Theorem 1 and bound (19) -----------------------------------------------------------------------------------


def flow(toy: Toy, w: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor]:
    """LpSGD's flow (15) on the sphere: dw/dt (n, d), dR/dt (n, 1) as in Theorem 1's proof, and ||g||_q (n, 1)."""
    g = toy.gradient(w)
    length, delta = sphere.row_norm(g, sphere.dual_exponent(p)), sphere.dual_pair(g, p)[1]
    across = (sphere.signed_power(w, p - 1) * delta).sum(1, keepdim=True)
    return w * across - delta, (g * w).sum(1, keepdim=True) * across - length, length


def flow_m(toy: Toy, w: Tensor, p: float) -> Tensor:
    """(n, 1): dR/dt of LpSGD-m's flow with gamma = 0, dv/dt = v (w.g) / ||g||_q - g / ||g||_q and w = v^[q-1].

    = (q-1) ((sum |v|^(q-2) v g)^2 - sum |v|^(q-2) g^2) / ||g||_q: never positive, by Cauchy-Schwarz, as sum |v|^q = 1.
    """
    g, q = toy.gradient(w), sphere.dual_exponent(p)
    weighted = sphere.abs_power(w, p - 1).pow(q - 2) * g * g
    rate = (g * w).sum(1, keepdim=True).square() - weighted.sum(1, keepdim=True)
    return (q - 1) * rate / sphere.row_norm(g, q)


def bound(toy: Toy, w: Tensor, p: float, beta: Tensor) -> Tensor:
    """(n, 1): the learning rate below which eq (19) promises that R falls."""
    velocity, rate, _ = flow(toy, w, p)
    return -2 * rate / (beta * sphere.row_norm(velocity, p).square())


def raises(toy: Toy, w: Tensor, p: float, eta: Tensor) -> Tensor:
    """(n, 1): whether a step of LpSGD (13), with an eta a row, leads to a larger R."""
    delta = sphere.dual_pair(toy.gradient(w), p)[1]
    return toy.risk(sphere.normalize((1 - eta) * w - eta * delta, p)) > toy.risk(w)


# --- the table --------------------------------------------------------------------------------------------------


def line(minimum: str, p: float, args: argparse.Namespace) -> dict[str, str | float]:
    """One line of the table: both optimizers on `problems` problems, and random points of as many as `trials` need."""
    generator = torch.Generator().manual_seed(args.seed)
    toy = Toy.draw(args.problems, p, RADIUS[minimum], generator)
    start = sphere.normalize(normal(args.problems * STARTS, DIM, generator=generator), p)
    reference, many = slsqp(toy, p, start), toy.repeat(STARTS)
    ends = {cls: best(toy, descend(cls, many, p, start, args.steps)) for cls in (lpss.LpSGD, lpss.LpSGDm)}
    gaps = [(risk - reference).nan_to_num(nan=np.inf).max().item() for _, risk in ends.values()]
    w = ends[lpss.LpSGDm][0]
    delta = sphere.dual_pair(toy.gradient(w), p)[1]
    residual, sign = min(((w - way * delta).abs().max().item(), way) for way in (-1, 1))
    _, rate, length = flow(toy, w, p)
    near = sphere.normalize(w + 1e-4 * sphere.normalize(normal(*w.shape, generator=generator), p), p)

    points = max(1, args.trials // 40)
    drawn = Toy.draw(40, p, RADIUS[minimum], generator)
    beta, drawn = drawn.beta(p, generator).repeat_interleave(points, 0), drawn.repeat(points)
    x = sphere.normalize(normal(len(drawn.c), DIM, generator=generator), p)
    _, rates, lengths = flow(drawn, x, p)
    far = bound(drawn, x, p, beta)
    share = torch.rand(far.shape, generator=generator, dtype=far.dtype)
    return {
        "minimum": minimum,
        "p": p,
        "gap_lpsgd": gaps[0],
        "gap_lpsgd_m": gaps[1],
        "sign": sign,
        "residual": residual,
        "rate_lpsgd": (rates / lengths).max().item(),
        "rate_lpsgd_m": (flow_m(drawn, x, p) / lengths).max().item(),
        "rate_minimum": (rate.abs() / length).max().item(),
        "fails_random": raises(drawn, x, p, share * far.clamp(max=1)).double().mean().item(),
        "fails_at": raises(drawn, x, p, 0.9999 * far.clamp(max=1)).double().mean().item(),
        "bound_far": far.median().item(),
        "bound_near": bound(toy, near, p, toy.beta(p, generator)).median().item(),
    }


def cell(name: str, value: str | float) -> str:
    if name == "sign":
        return f"{value:+d}"
    if name.startswith("fails"):
        return f"{100 * value:.2f} %"
    return value if isinstance(value, str) else f"{value:.2g}"


def main(argv: list[str] | None = None) -> int:
    return run_command("convergence", lambda: _run(_parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # rows of ten numbers
    exponents(args.p)
    for key in ("problems", "trials", "steps"):
        check_range(getattr(args, key), f"--{key}", 1, 10**7)
    lines = [line(minimum, p, args) for minimum in RADIUS for p in args.p]
    write_text(args.output, pd.DataFrame(lines).to_csv(index=False))
    rows = [[cell(name, value) for name, value in one.items()] for one in lines]
    print(markdown_table(list(lines[0]), 1, rows, f"Written to {args.output}.", []), end="")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--p", type=float, nargs="+", default=[1.1, 1.2, 1.5, 2.0, 3.0])
    add("--problems", type=int, default=5, help="problems that are solved, for each line")
    add("--trials", type=int, default=10_000, help="random points, for each line")
    add("--steps", type=int, default=3000)
    add("--seed", type=int, default=0)
    add("--output", type=Path, default=Path("outputs/figures/convergence.csv"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
