#!/usr/bin/env python3
"""DeepR on LeNet-300-100 as the figures beside outputs/mnist_lenet were made, as far as that is known.

    python scripts/deepr_published.py --sparsity 0.9,0.95,0.98,0.99 [--last 100] [--epochs 100] [--seed 0]
                                      [--dataset mnist]

lpss's own DeepR differs from Mostafa and Wang's (https://github.com/caseus-viridis/dst), whose figures others cite,
in more than options can say. This is theirs: BatchNorm after every layer, logits too, no biases; uniform densities;
SGD with Nesterov momentum; L1 penalty and noise are part of the gradient, so that momentum adds them up; after every
step of the first nine tenths a layer drops the connections whose weights have changed sign since the step before and
grows as many at random, at 0, among those that were not active. `--eta` (noise: standard deviation sqrt(2 eta T),
with T falling from 1e-3 to 1e-6 in four steps) is their code's default, `--l1` that of their runs on CIFAR-10; those
on MNIST are not in it. `--last` gives the last layer that many weights and leaves the others as they are.

A line for every five epochs, and at the end the test accuracy after the last epoch.
"""

import argparse
import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lpss.cli import run_command
from lpss.data import load
from lpss.options import check_range

HIDDEN = (300, 100)
BATCH, MOMENTUM, REWIRED = 100, 0.9, 0.9  # REWIRED: the part of training in which connections move
RATES = (0.1, 0.02, 0.004, 0.0008)  # for a quarter of training each
TEMPERATURES = (1e-3, 1e-4, 1e-5, 1e-6)


class Layer:
    """A linear map whose active weights, no others, are trained: `places` (n,) in the flat weight, `signs` before."""

    def __init__(self, fan_in: int, fan_out: int, active: int):
        bound = 1 / math.sqrt(fan_in)
        weight = torch.empty(fan_out, fan_in).uniform_(-bound, bound)
        self.active = torch.zeros(weight.numel(), dtype=torch.bool)
        self.active[torch.randperm(weight.numel())[:active]] = True
        self.places = self.active.nonzero().view(-1)
        self.weight = (weight * self.active.view_as(weight)).requires_grad_()
        self.momentum = torch.zeros(weight.numel())
        self.signs = self.values.sign()

    @property
    def values(self) -> Tensor:
        return self.weight.detach().view(-1)[self.places]

    def step(self, lr: float, l1: float, noise: float) -> None:
        """SGD with Nesterov momentum, which rests elsewhere as the gradient of a masked weight is 0 there."""
        values = self.values
        gradient = self.weight.grad.view(-1)[self.places] + l1 * values.sign()
        if noise:
            gradient += noise * torch.randn_like(gradient)
        self.weight.grad = None
        self.momentum *= MOMENTUM
        momentum = self.momentum[self.places] + gradient
        self.momentum[self.places] = momentum
        self.weight.detach().view(-1)[self.places] = values - lr * (gradient + MOMENTUM * momentum)

    def rewire(self) -> int:
        """How many connections had changed sign and were replaced; a new one, at 0, has none yet."""
        signs = self.values.sign()
        gone = signs * self.signs < 0
        count = int(gone.sum())
        if count:
            free = (~self.active).nonzero().view(-1)
            new = free[draw(len(free), count)]
            self.weight.detach().view(-1)[self.places[gone]] = 0
            self.active[self.places[gone]] = False
            self.active[new] = True
            self.places = torch.cat([self.places[~gone], new])
            signs = torch.cat([signs[~gone], torch.zeros(len(new))])
        self.signs = signs
        return count


def draw(population: int, count: int) -> Tensor:
    """`count` different numbers below `population`, each set as likely; unlike randperm it touches no others."""
    drawn = torch.randint(population, (count,)).unique()
    while len(drawn) < count:
        drawn = torch.cat([drawn, torch.randint(population, (count - len(drawn),))]).unique()
    return drawn


@dataclass
class Net:
    layers: list[Layer]
    norms: nn.ModuleList

    @classmethod
    def at_random(cls, inputs: int, classes: int, density: float, last: int = 0) -> "Net":
        sizes = (inputs, *HIDDEN, classes)
        active = [int(density * a * b + 0.1) for a, b in zip(sizes, sizes[1:], strict=False)]
        active[-1] = last or active[-1]
        layers = [Layer(*shape, n) for *shape, n in zip(sizes, sizes[1:], active, strict=False)]
        return cls(layers, nn.ModuleList(nn.BatchNorm1d(size) for size in sizes[1:]))

    def __call__(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(F.linear(x, layer.weight))
            x = F.relu(x) if layer is not self.layers[-1] else x
        return x


def train(net: Net, data: TensorDataset, epochs: int, l1: float, eta: float):
    """Yields the epoch and how many connections it has replaced, after each epoch."""
    x, y = data.tensors
    norms = torch.optim.SGD(net.norms.parameters(), lr=RATES[0], momentum=MOMENTUM, nesterov=True)
    for epoch in range(epochs):
        quarter = 4 * epoch // epochs
        lr = norms.param_groups[0]["lr"] = RATES[quarter]
        rewired = epoch < REWIRED * epochs
        noise = math.sqrt(2 * eta * TEMPERATURES[quarter]) if rewired else 0.0
        net.norms.train()
        moved = 0
        for rows in torch.randperm(len(y)).split(BATCH):
            norms.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            norms.step()
            for layer in net.layers:
                layer.step(lr, l1, noise)
                moved += layer.rewire() if rewired else 0
        yield epoch + 1, moved


@torch.no_grad()
def accuracy(net: Net, data: TensorDataset) -> float:
    x, y = data.tensors
    net.norms.eval()
    return (net(x).argmax(1) == y).float().mean().item()


def inputs(split, mean: tuple | None, std: tuple | None) -> TensorDataset:
    """Flat; bytes as numbers of 0..1, normalised."""
    x = split.x.flatten(1).float()
    return TensorDataset(x if mean is None else (x / 255 - mean[0]) / std[0], split.y)


def main() -> None:
    """Train at each sparsity, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sparsity", type=lambda text: [float(word) for word in text.split(",")], default=[0.9, 0.95, 0.98, 0.99]
    )
    parser.add_argument("--last", type=int, default=0, help="active weights of the last layer (default: its share)")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--l1", type=float, default=1e-4)
    parser.add_argument("--eta", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dataset", default="mnist")
    args = parser.parse_args()
    for sparsity in args.sparsity:
        check_range(sparsity, "--sparsity", 0, 1, open_high=True)
    check_range(args.last, "--last", 0, float("inf"), open_high=True)
    check_range(args.epochs, "--epochs", 1, float("inf"), open_high=True)
    data = load(args.dataset)
    splits = [inputs(split, data.mean, data.std) for split in (data.train, data.test)]
    for sparsity in args.sparsity:
        torch.manual_seed(args.seed)
        net = Net.at_random(splits[0].tensors[0].shape[1], data.classes, 1 - sparsity, args.last)
        for epoch, moved in train(net, splits[0], args.epochs, args.l1, args.eta):
            if epoch % 5 == 0 and epoch < args.epochs:
                print(f"{sparsity} epoch {epoch}: {moved} moved, {accuracy(net, splits[1]):.4f}", flush=True)
        active = [int(layer.active.sum()) for layer in net.layers]
        print(f"{sparsity} seed {args.seed}: active weights {active}, test accuracy {accuracy(net, splits[1]):.4f}")


if __name__ == "__main__":
    sys.exit(run_command("deepr_published", main))
