#!/usr/bin/env python3
"""Time one optimizer step: LpSGD and LpSGD-m against torch's SGD and a textbook form of the same update.

    python scripts/bench_optimizer.py [--nets wrn-22-2 letter] [--p 1.2 1.25 1.07] [--threads 2] [--device cpu]
                                      [--rounds 30] [--json outputs/bench/optimizer.json]

All contestants step in turn, round by round, in one process, so that other load on the machine hits them alike; the
table shows medians and their ratios to SGD (foreach) and to the textbook step.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

import lpss
from lpss.models import build_model
from lpss.train.environment import choose_device, device_name, git_commit, versions

NETS = {
    "wrn-22-2": ({"name": "wrn", "depth": 22, "width": 2}, (3, 32, 32), 10),
    "wrn-12-1": ({"name": "wrn", "depth": 12, "width": 1}, (1, 28, 28), 10),
    "letter": ({"name": "mlp", "hidden": [1024, 512, 256, 128, 64]}, (16,), 26),
    "dna": ({"name": "mlp", "hidden": [1024, 512, 256, 128]}, (240,), 3),
}


class Textbook(torch.optim.Optimizer):
    """LpSGD-m as its equations read: a tensor at a time, norms and powers by `pow`; p=None groups are SGD."""

    def __init__(self, groups, lr, momentum=0.9):
        super().__init__(groups, dict(lr=lr, momentum=momentum, p=None))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            p, eta, gamma = group["p"], group["lr"], group["momentum"]
            for param in group["params"]:
                state, grad = self.state[param], param.grad
                if p is None:
                    buffer = state.setdefault("buffer", torch.zeros_like(param))
                    buffer.mul_(gamma).add_(grad)
                    param.add_(buffer, alpha=-eta)
                    continue
                q, dims = p / (p - 1), tuple(range(1, param.dim()))
                if not state:
                    state["mu"] = torch.zeros_like(param)
                    state["v"] = param.sign() * param.abs().pow(p - 1)
                state["mu"] = gamma * state["mu"] + grad
                norm = state["mu"].abs().pow(q).sum(dims, keepdim=True).pow(1 / q) + 1e-6
                t = (1 - eta) * state["v"] - eta * state["mu"] / norm
                state["v"] = t / (t.abs().pow(q).sum(dims, keepdim=True).pow(1 / q) + 1e-6)
                param.copy_(state["v"].sign() * state["v"].abs().pow(q - 1))


def contestants(p: float, device: torch.device) -> dict:
    """Name -> function from a net to an optimizer over all of its parameters."""

    def groups(net):
        return lpss.param_groups(net, p)

    made = {
        "sgd foreach": lambda net: torch.optim.SGD(net.parameters(), 0.02, 0.9, foreach=True),
        "sgd fused": lambda net: torch.optim.SGD(net.parameters(), 0.02, 0.9, fused=True),
        "textbook lpsgd_m": lambda net: Textbook(groups(net), 0.02),
        "lpsgd_m": lambda net: lpss.LpSGDm(groups(net), 0.02, None),
        "lpsgd": lambda net: lpss.LpSGD(groups(net), 0.02, None),
    }
    return made


def measure(net_name: str, p: float, device: torch.device, rounds: int) -> list[dict]:
    """One row a contestant: median milliseconds a step and ratios."""
    model, shape, classes = NETS[net_name]
    steps = {}
    for name, make in contestants(p, device).items():
        torch.manual_seed(0)
        net = build_model(model, {}, shape, classes).to(device)
        optimizer = make(net)
        for param in net.parameters():
            param.grad = torch.randn_like(param)
        steps[name] = optimizer.step
    times = {name: [] for name in steps}
    for turn in range(rounds + 3):
        for name, step in steps.items():
            _wait(device)
            start = time.perf_counter()
            step()
            _wait(device)
            if turn >= 3:  # the first make state and warm caches
                times[name].append(1e3 * (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in times.items()}
    return [
        {
            "net": net_name,
            "p": p,
            "optimizer": name,
            "ms": round(value, 3),
            "times_sgd": round(value / median["sgd foreach"], 2),
            "faster_than_textbook": round(median["textbook lpsgd_m"] / value, 2),
        }
        for name, value in median.items()
    ]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=["wrn-22-2", "letter"])
    parser.add_argument("--p", nargs="+", type=float, default=[1.2, 1.25, 1.07])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    rows = []
    print(f"{device_name(device)}, {args.threads} threads, torch {torch.__version__}\n")
    print(f"{'net':10}{'p':>6}  {'optimizer':18}{'ms':>9}{'x SGD':>8}{'textbook / it':>15}")
    for net in args.nets:
        for p in args.p:
            for row in measure(net, p, device, args.rounds):
                rows.append(row)
                print(
                    f"{row['net']:10}{row['p']:>6g}  {row['optimizer']:18}{row['ms']:>9.2f}{row['times_sgd']:>8.1f}"
                    f"{row['faster_than_textbook']:>15.1f}",
                    flush=True,
                )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"device": device_name(device), "threads": args.threads, "versions": versions(), "commit": git_commit()}
        args.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
