#!/usr/bin/env python3
"""Time one optimizer step: LpSGD and LpSGD-m against torch's SGD and a textbook form of the same update.

    python scripts/bench_optimizer.py [--nets wrn-22-2 letter] [--p 1.2 1.25 1.07] [--threads 2] [--device cpu]
                                      [--rounds 30] [--json outputs/bench/optimizer.json]

All contestants step in turn, round by round, in one process, so that other load on the machine hits them alike. In
each turn the first step is `cold` (the others have driven its arrays out of the processor's caches) and the following
ones are `warm`; training lies between the two, nearer to warm for small nets. Medians over rounds.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from benchmark import wait, write_json

import lpss
from lpss.models import build_model
from lpss.train.environment import choose_device, device_name

NETS = {
    "wrn-22-2": ({"name": "wrn", "depth": 22, "width": 2}, (3, 32, 32), 10),
    "wrn-12-1": ({"name": "wrn", "depth": 12, "width": 1}, (1, 28, 28), 10),
    "letter": ({"name": "mlp", "hidden": [1024, 512, 256, 128, 64]}, (16,), 26),
    "dna": ({"name": "mlp", "hidden": [1024, 512, 256, 128]}, (240,), 3),
}

IN_A_ROW = 8  # warm steps in each turn


class Textbook(torch.optim.Optimizer):
    """LpSGD-m as its equations read: one tensor at a time, norms and powers by `pow`; p=None groups are SGD."""

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
    """One row per contestant: median milliseconds for a step, and ratios to SGD (foreach) and to the textbook step."""
    model, shape, classes = NETS[net_name]
    steps, state = {}, {}
    for name, make in contestants(p, device).items():
        torch.manual_seed(0)
        net = build_model(model, {}, shape, classes).to(device)
        optimizer = make(net)
        for param in net.parameters():
            param.grad = torch.randn_like(param)
        optimizer.step()
        state[name] = sum(x.numel() * x.element_size() for x in tensors_of(optimizer)) / sum(
            param.numel() for param in net.parameters()
        )
        steps[name] = optimizer.step
    warm, cold = {name: [] for name in steps}, {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            cold[name].append(milliseconds(step, 1, device))
            warm[name].append(milliseconds(step, IN_A_ROW, device))
    rows = []
    for name in steps:
        row = {"net": net_name, "p": p, "optimizer": name, "state_bytes_per_parameter": round(state[name], 2)}
        for key, times in (("warm", warm), ("cold", cold)):
            median = {other: statistics.median(values) for other, values in times.items()}
            row |= {
                f"{key}_ms": round(median[name], 3),
                f"{key}_times_sgd": round(median[name] / median["sgd foreach"], 2),
                f"{key}_faster_than_textbook": round(median["textbook lpsgd_m"] / median[name], 2),
            }
        rows.append(row)
    return rows


def milliseconds(step, count: int, device: torch.device) -> float:
    """Of one of so many steps in a row."""
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return 1e3 * (time.perf_counter() - start) / count


def tensors_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The state that an optimizer keeps from step to step."""
    return [x for state in optimizer.state.values() for x in state.values() if torch.is_tensor(x)]


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
    heads = ("warm ms", "x SGD", "textbook/it", "cold ms", "x SGD", "textbook/it", "state B/par.")
    print(f"{'net':10}{'p':>6}  {'optimizer':18}" + "".join(f"{head:>13}" for head in heads))
    for net in args.nets:
        for p in args.p:
            for row in measure(net, p, device, args.rounds):
                rows.append(row)
                print(
                    f"{row['net']:10}{row['p']:>6g}  {row['optimizer']:18}"
                    f"{row['warm_ms']:>13.2f}{row['warm_times_sgd']:>13.1f}{row['warm_faster_than_textbook']:>13.1f}"
                    f"{row['cold_ms']:>13.2f}{row['cold_times_sgd']:>13.1f}{row['cold_faster_than_textbook']:>13.1f}"
                    f"{row['state_bytes_per_parameter']:>13.1f}",
                    flush=True,
                )
    if args.json:
        write_json(args.json, device, {"threads": args.threads, "rows": rows})


if __name__ == "__main__":
    main()
