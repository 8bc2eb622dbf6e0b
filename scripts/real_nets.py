#!/usr/bin/env python3
"""Sparse training of nets as others write them: torchvision's ResNet-18 and a small ViT on a part of CIFAR-10, and a
two-layer transformer language model on the text that Python's own help shows.

    python scripts/real_nets.py [--nets resnet18 vit lm] [--methods dense gmp ...] [--sparsity .8] [--steps N]
                                [--seeds 0] [--data FOLDER] [--output outputs/real_nets] [--tune]

A few hundred steps each: enough to see that it works, not to compare methods. Results go to results.json in the output
folder, and README.md is made from it; a cell that is there (net, method, sparsity, steps, seed, settings) is not
trained again. `--tune` trains the grids below, and measures them on a part of the training set that no run trains on.
"""

import argparse
import json
import logging
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from real_nets_readme import TITLES, readme
from torch import Tensor, nn
from torch.nn import functional as F

import lpss
from lpss.cli import run_command
from lpss.data import AugmentConfig, Batches, Split, eval_batches, load
from lpss.files import write_text
from lpss.layers import weight_layers
from lpss.options import check_range
from lpss.schedules.cosine import Cosine
from lpss.train.cost import Cost

ATTENTION = ("attention", "*out_proj")  # the packed projections of queries, keys and values, and that of the output
IMAGES, TESTED = 10_000, 2_000  # of CIFAR-10: trained on, and measured on
CONTEXT = 96  # characters


# --- nets and their data ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A net and its data.

    batches: seed -> endless (inputs, targets). held_out: `validation` or `test` -> batches that are not trained on.
    example: one input, in a batch.
    """

    net: nn.Module
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    held_out: Callable[[str], Iterator[tuple[Tensor, Tensor]]]
    example: Tensor


def images(net: nn.Module, root: Path | None) -> Task:
    """CIFAR-10's first 10,000 training images; the next 2,000 for validation, the first 2,000 of the test set."""
    data = load("cifar10", root, download=False)
    normal = {"mean": data.mean, "std": data.std}
    part = Split(data.train.x[:IMAGES], data.train.y[:IMAGES])
    held = {
        "validation": Split(data.train.x[IMAGES : IMAGES + TESTED], data.train.y[IMAGES : IMAGES + TESTED]),
        "test": Split(data.test.x[:TESTED], data.test.y[:TESTED]),
    }

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        source = Batches(part, 64, seed=seed, augment=AugmentConfig(crop_pad=4, flip=True), **normal)
        epoch = 0
        while True:
            yield from source.epoch(epoch)
            epoch += 1

    def held_out(name: str) -> Iterator[tuple[Tensor, Tensor]]:
        return eval_batches(held[name], 500, device="cpu", **normal)

    return Task(net, batches, held_out, torch.zeros(1, 3, 32, 32))


def resnet18(root: Path | None) -> Task:
    """torchvision's, with its stem for large images: 32x32 pixels become 8x8 before the first block."""
    from torchvision.models import resnet18

    return images(resnet18(num_classes=10), root)


def vit(root: Path | None) -> Task:
    """torchvision's ViT: 4 layers of width 128, 4 heads, 16 patches of 8x8."""
    from torchvision.models import VisionTransformer

    shape = {"image_size": 32, "patch_size": 8, "num_layers": 4, "num_heads": 4, "hidden_dim": 128, "mlp_dim": 256}
    return images(VisionTransformer(**shape, num_classes=10), root)


class LanguageModel(nn.Module):
    """Characters -> logits of the next: embeddings, two layers of nn.TransformerEncoder with a causal mask, head."""

    def __init__(self, characters: int, width: int = 128):
        super().__init__()
        self.characters = nn.Embedding(characters, width)
        self.positions = nn.Embedding(CONTEXT, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, characters)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T) int64 -> (B, characters, T)"""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        x = self.characters(x) + self.positions.weight[: x.shape[1]]
        return self.head(self.encoder(x, mask=mask, is_causal=True)).transpose(1, 2)


def lm(root: Path | None) -> Task:
    """The topics of Python's help(), half a million characters: 80 % to train on, then 10 % each for the others."""
    from pydoc_data.topics import topics

    text = "".join(topics.values())
    known = sorted(set(text))
    number = {character: index for index, character in enumerate(known)}
    codes = torch.tensor([number[character] for character in text])
    train, validation, test = codes.split([len(codes) * 8 // 10, len(codes) // 10, len(codes) - len(codes) * 9 // 10])
    held = {"validation": validation, "test": test}

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        draw = torch.Generator().manual_seed(seed)
        while True:
            starts = torch.randint(len(train) - CONTEXT, (16, 1), generator=draw)
            rows = train[starts + torch.arange(CONTEXT + 1)]
            yield rows[:, :-1], rows[:, 1:]

    def held_out(name: str) -> Iterator[tuple[Tensor, Tensor]]:
        part = held[name]
        count = (len(part) - 1) // CONTEXT
        rows = zip(
            part[: count * CONTEXT].view(count, -1).split(64),
            part[1:][: count * CONTEXT].view(count, -1).split(64),
            strict=True,
        )
        yield from rows

    return Task(LanguageModel(len(known)), batches, held_out, codes[:CONTEXT].view(1, -1))


@dataclass(frozen=True)
class Net:
    """steps: by default. usual: the optimizer that such nets are trained with, and its settings. sphere: settings of
    LpSGD-m. grid: what `--tune` tries, of either; the best of them are the settings here."""

    make: Callable[[Path | None], Task]
    steps: int
    usual: str
    settings: dict
    sphere: dict
    grid: dict


NETS = {
    "resnet18": Net(
        resnet18,
        200,
        "SGD",
        {"lr": 0.05, "weight_decay": 5e-4},
        {"lr": 0.02, "lr_free": 0.05, "p": 1.75},
        {"usual": {"lr": (0.05, 0.1)}, "sphere": {"lr": (0.02, 0.05), "lr_free": (0.05,), "p": (1.75,)}},
    ),
    "vit": Net(
        vit,
        400,
        "AdamW",
        {"lr": 1e-3, "weight_decay": 0.05},
        {"lr": 0.003, "lr_free": 0.3, "p": 1.75},
        {
            "usual": {"lr": (3e-4, 1e-3, 3e-3)},
            "sphere": {"lr": (0.003, 0.01, 0.03), "lr_free": (0.1, 0.3), "p": (1.5, 1.75)},
        },
    ),
    "lm": Net(
        lm,
        400,
        "AdamW",
        {"lr": 1e-2, "weight_decay": 0.01},
        {"lr": 0.03, "lr_free": 0.3, "p": 1.5},
        {
            "usual": {"lr": (1e-3, 3e-3, 1e-2)},
            "sphere": {"lr": (0.01, 0.03, 0.1), "lr_free": (0.1, 0.3), "p": (1.5, 1.75)},
        },
    ),
}


@dataclass(frozen=True)
class Row:
    """A line of the tables: a method with its optimizer; titles are in real_nets_readme.py.

    sphere: whether LpSGD-m trains it. attention: None, or `p2` (their weights on the L_2 sphere) or `dense` (unmasked).
    """

    method: type
    sphere: bool = False
    attention: str | None = None


ROWS = {
    "dense": Row(lpss.Dense),
    "gmp": Row(lpss.GMP),
    "rigl": Row(lpss.RigL),
    "lpss": Row(lpss.LpSS, sphere=True),
    "lpss_attention_p2": Row(lpss.LpSS, sphere=True, attention="p2"),
    "lpss_attention_dense": Row(lpss.LpSS, sphere=True, attention="dense"),
    "lpss_usual": Row(lpss.LpSS),
    "dense_sphere": Row(lpss.Dense, sphere=True),
}


# --- a run ------------------------------------------------------------------------------------------------------


def make_optimizer(net: nn.Module, usual: str, row: Row, settings: dict) -> torch.optim.Optimizer:
    if row.sphere:
        p = settings["p"]
        rule = {**dict.fromkeys(ATTENTION, 2.0), "default": p} if row.attention == "p2" else p
        return lpss.LpSGDm(lpss.param_groups(net, p=rule, lr_free=settings["lr_free"]), lr=settings["lr"], p=p)
    if usual == "SGD":
        return torch.optim.SGD(net.parameters(), **settings, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(net.parameters(), **settings)


def train(name: str, row_name: str, settings: dict, args: argparse.Namespace, seed: int) -> dict:
    """One run; returns its numbers. Prints coverage, FLOPs, loss and the sparsity of every layer."""
    row, steps = ROWS[row_name], args.steps or NETS[name].steps
    torch.manual_seed(seed)
    task = NETS[name].make(args.data)
    net, usual = task.net, NETS[name].usual
    optimizer = make_optimizer(net, usual, row, settings)
    exclude = ATTENTION if row.attention == "dense" else ()
    sparsity = 0.0 if row.method is lpss.Dense else args.sparsity
    method = row.method(net, optimizer, sparsity=sparsity, total_steps=steps, exclude=exclude, seed=seed).attach()
    cost = Cost(net, method.masks, task.example)
    schedule = Cosine(Cosine.Config(warmup=0.1))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step / steps))

    print(f"\n{name}, {TITLES[row_name]}, {settings}, seed {seed}\n{method.coverage}", flush=True)
    start, losses = time.perf_counter(), []
    for _, (x, y) in zip(range(steps), task.batches(seed), strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        if usual == "AdamW":  # a transformer
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        update = method.should_update()
        cost.step(method.dense_backward)
        optimizer.step()
        scheduler.step()
        if update:
            cost.refresh()
        losses.append(loss.item())
    seconds = time.perf_counter() - start
    held, accuracy = evaluate(net, task.held_out("validation" if args.tune else "test"))
    layers = {
        layer.name: {"role": layer.role, "weights": layer.weight.numel(), "sparsity": zeros(layer.weight)}
        for layer in weight_layers(net)
    }
    result = {
        "loss_train": sum(losses[-20:]) / len(losses[-20:]),
        "loss_held_out": held,
        "accuracy": accuracy,
        "sparsity_reached": method.masks.sparsity_weights(),
        "sparsity_all_parameters": method.masks.sparsity_all_parameters(),
        "sparsity_before_finish": method.sparsity_before_finish(),
        "hoyer_sparsity": method.masks.mean_hoyer_sparsity(),
        "empty_neurons": sum(method.masks.empty_neurons().values()),
        "coverage": method.coverage.line(),
        "flops_dense": cost.dense,
        "flops_other": cost.other,
        "flops_training": cost.training(),
        "flops_inference": cost.inference(),
        "not_counted": cost.not_counted,
        "seconds": round(seconds, 1),
        "layers": layers,
    }
    print(f"{cost}\ntraining: {cost.training():.1%} of the FLOPs of dense training, {seconds:.0f} s")
    print(f"loss {result['loss_train']:.3f}, held out {held:.3f}, {score(name, result)}")
    print(f"sparsity {result['sparsity_reached']:.4f}, by layer:")
    print("\n".join(f"  {layer:50s} {facts['sparsity']:.3f}" for layer, facts in layers.items()), flush=True)
    return result


def zeros(weight: Tensor) -> float:
    return round(float((weight == 0).double().mean()), 4)


@torch.no_grad()
def evaluate(net: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Mean cross entropy in nats, and the share of targets that have the largest logit."""
    net.eval()
    loss = correct = count = 0
    for x, y in batches:
        logits = net(x)
        loss += F.cross_entropy(logits, y, reduction="sum").item()
        correct += (logits.argmax(1) == y).sum().item()
        count += y.numel()
    return loss / count, correct / count


def score(name: str, result: dict) -> str:
    if name == "lm":
        return f"{result['loss_held_out'] / math.log(2):.3f} bits per character"
    return f"accuracy {result['accuracy']:.3f}"


# --- all runs ---------------------------------------------------------------------------------------------------


def cells(args: argparse.Namespace) -> Iterator[dict]:
    """What identifies each run that is asked for."""
    for name in args.nets:
        net = NETS[name]
        has_attention = name != "resnet18"
        for seed in args.seeds:
            base = {"net": name, "sparsity": args.sparsity, "steps": args.steps or net.steps, "seed": seed}
            if args.tune:
                for group, row in (("usual", "dense"), ("sphere", "lpss")):
                    fixed = net.sphere if group == "sphere" else net.settings
                    for values in combinations(net.grid[group]):
                        yield base | {"method": row, "part": "validation", "settings": fixed | values}
                continue
            for row in args.methods:
                if ROWS[row].attention is None or has_attention:
                    settings = net.sphere if ROWS[row].sphere else net.settings
                    yield base | {"method": row, "part": "test", "settings": settings}


def combinations(grid: dict) -> list[dict]:
    lines = [{}]
    for key, values in grid.items():
        lines = [line | {key: value} for line in lines for value in values]
    return lines


def main(argv: list[str] | None = None) -> int:
    return run_command("real_nets", lambda: _run(_parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    check_range(args.sparsity, "--sparsity", 0, 1, open_high=True)
    if args.steps is not None:
        check_range(args.steps, "--steps", 1, 10**7)
    file = args.output / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    for cell in cells(args):
        if any(all(one[key] == value for key, value in cell.items()) for one in results):
            continue
        result = train(cell["net"], cell["method"], cell["settings"], args, cell["seed"])
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        results.append(cell | result | {"versions": versions})
        write_text(file, json.dumps(results, indent=1) + "\n")
    write_text(args.output / "README.md", readme(results))
    print(f"\n{file}: {len(results)} runs; tables in {args.output / 'README.md'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--nets", nargs="+", choices=NETS, default=list(NETS))
    add("--methods", nargs="+", choices=ROWS, default=list(ROWS))
    add("--sparsity", type=float, default=0.8)
    add("--steps", type=int, help="of each run; by default 200 (ResNet-18) or 400")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--data", type=Path, help="folder with cifar-10-batches-py; by default $LPSS_DATA, else ~/.cache/lpss")
    add("--output", type=Path, default=Path("outputs/real_nets"))
    add("--tune", action="store_true", help="train the grids, measured on held-out training data")
    return parser


if __name__ == "__main__":
    sys.exit(main())
