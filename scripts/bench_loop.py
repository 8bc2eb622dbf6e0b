#!/usr/bin/env python3
"""Time the training loop: samples/s against a DataLoader loop, LpSS against dense SGD, and the overhead of the loop.

    python scripts/bench_loop.py [--datasets letter adult web mnist] [--turns 5] [--threads 2] [--device cpu]
                                 [--json outputs/bench/loop.json] [KEY=VALUE ...]

Contestants, which take turns of 40 steps in one process, so that other load on the machine hits them alike (medians):

    bare         forward, loss, backward, optimizer on one fixed batch, dense SGD: no overhead
    dense        dense SGD in our loop                (overhead: dense / bare)
    lpss         LpSS at sparsity .9 in our loop, with a topology update every 40 steps
    bare lpss    as bare, with LpSS's optimizer       (overhead: lpss / bare lpss)
    dataloader   LpSS as the authors' demo is built: a DataLoader with per-sample transforms, LpSGD-m as its equations
                 read, masks applied to weights and gradients layer by layer, a second forward and backward pass at
                 topology updates, the loss read at every step
"""

import argparse
import statistics
import time
from itertools import chain, count, islice, repeat
from pathlib import Path

import numpy as np
import torch
from bench_optimizer import Textbook
from benchmark import wait, write_json
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import lpss
import lpss.data
from lpss.cli.compose import compose_run
from lpss.config import RunConfig
from lpss.data import DATASETS, AugmentConfig, load
from lpss.train.build import Parts, build
from lpss.train.environment import choose_device, device_name
from lpss.train.resolve import ResolvedRun, resolve
from lpss.train.trainer import Trainer

BLOCK = 40  # steps in a turn: one topology update in each


class Turns:
    """Epochs of BLOCK steps each, on batches that continue where the last epoch ended."""

    def __init__(self, batches):
        self.stream = chain.from_iterable(map(batches.epoch, count()))

    def epoch(self, number: int, start: int = 0):
        return islice(self.stream, BLOCK - start)


class OurLoop:
    """`lpss.train.trainer.Trainer`, an epoch of BLOCK steps in each turn."""

    def __init__(self, parts: Parts):
        x, y = next(iter(parts.eval_batches()))
        few = [(x[:8], y[:8])]
        turns = Turns(parts.batches)
        self.trainer = Trainer(
            parts.step,
            turns,
            parts.schedule,
            lambda: few,
            parts.cost,
            epochs=0,
            total_steps=parts.total_steps,
        )

    def turn(self) -> float:
        self.trainer.epochs += 1
        self.trainer.train()
        return self.trainer.progress.rows[-1]["seconds"]


class Bare:
    """Steps on one fixed batch, without masks, metrics or schedule."""

    def __init__(self, parts: Parts):
        self.net, self.optimizer = parts.net, parts.optimizer
        self.x, self.y = next(iter(parts.batches.epoch(0)))

    def turn(self) -> float:
        start = time.perf_counter()
        for _ in range(BLOCK):
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(self.x), self.y).backward()
            self.optimizer.step()
        wait(self.x.device)
        return time.perf_counter() - start


class Rows(Dataset):
    """Samples one at a time, transformed one at a time."""

    def __init__(self, data: lpss.data.Dataset, augment: AugmentConfig):
        self.x, self.y = data.train.x.numpy(), data.train.y.numpy()
        if data.mean is None:
            mean, std = self.x.mean(0), self.x.std(0) + 1e-6
            self.transform = transforms.Compose([lambda row: (row - mean) / std, torch.from_numpy])
        else:
            self.x = np.ascontiguousarray(self.x.transpose(0, 2, 3, 1))
            steps = [transforms.ToPILImage()]
            steps += [transforms.RandomCrop(self.x.shape[1], augment.crop_pad)] if augment.crop_pad else []
            steps += [transforms.RandomHorizontalFlip()] if augment.flip else []
            self.transform = transforms.Compose(
                [*steps, transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
            )

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int):
        return self.transform(self.x[index]), int(self.y[index])


class DataLoaderLoop:
    """The structure of the authors' demo, see above."""

    def __init__(self, config: RunConfig, parts: Parts, workers: int):
        self.net, self.device = parts.net, parts.device
        self.optimizer = Textbook(lpss.param_groups(self.net, 1.2), 0.02)
        window = {"begin": 0.0, "end": 1.0, "update_every": BLOCK}
        self.method = lpss.LpSS(self.net, self.optimizer, sparsity=0.9, total_steps=parts.total_steps, **window)
        rows = Rows(
            load(DATASETS.options(config.dataset), config.data.root), AugmentConfig.of(config.dataset["augment"])
        )
        self.loader = DataLoader(rows, config.train.batch_size, shuffle=True, drop_last=True, num_workers=workers)
        self.batches = chain.from_iterable(repeat(self.loader))

    def turn(self) -> float:
        start, running_loss, correct = time.perf_counter(), 0.0, 0
        for _ in range(BLOCK):
            x, y = next(self.batches)
            x, y = x.to(self.device), y.to(self.device)
            if self.method.should_update():
                self.optimizer.zero_grad()
                F.cross_entropy(self.net(x), y).backward()
                self.method.update()
            self.optimizer.zero_grad()
            logits = self.net(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            self._mask()
            self.optimizer.step()
            self._mask()
            self.method.steps += 1
            running_loss += loss.item()
            correct += (logits.argmax(1) == y).sum().item()
        wait(self.device)
        return time.perf_counter() - start

    @torch.no_grad()
    def _mask(self) -> None:
        for name, mask in self.method.masks.items():
            weight = self.method.masks.layers[name].weight
            weight.mul_(mask)
            weight.grad.mul_(mask)


def measure(overrides: list[str], turns: int, workers: int | None) -> dict[str, float]:
    """Contestant -> median seconds for a step."""

    def resolved(*more: str) -> ResolvedRun:
        return resolve(compose_run([*overrides, "sparsity=0.9", "train.epochs=1000", *more]))

    dense = ["method=dense"]
    sparse = ["method=lpss", "method.begin=0", "method.end=1", f"method.update_every={BLOCK}", "optimizer.p=1.2"]
    contestants = {
        "bare": Bare(build(resolved(*dense))),
        "dense": OurLoop(build(resolved(*dense))),
        "bare lpss": Bare(build(resolved(*sparse))),
        "lpss": OurLoop(build(resolved(*sparse))),
    }
    if workers is not None:
        run = resolved(*sparse)
        contestants["dataloader"] = DataLoaderLoop(run.config, build(run), workers)
    times = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, contestant in contestants.items():
            seconds = contestant.turn()
            if turn:  # the first makes state and warms up
                times[name].append(seconds / BLOCK)
    return {name: statistics.median(values) for name, values in times.items()}


def row(dataset: str, batch: int, seconds: dict[str, float]) -> dict:
    return {
        "dataset": dataset,
        "batch": batch,
        **{f"{name.replace(' ', '_')}_ms": round(1e3 * value, 3) for name, value in seconds.items()},
        "lpss_samples_per_s": round(batch / seconds["lpss"]),
        "lpss_per_dense": round(seconds["lpss"] / seconds["dense"], 3),
        "overhead_dense": round(seconds["dense"] / seconds["bare"] - 1, 3),
        "overhead_lpss": round(seconds["lpss"] / seconds["bare lpss"] - 1, 3),
        "faster_than_dataloader": round(seconds["dataloader"] / seconds["lpss"], 2)
        if "dataloader" in seconds
        else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["letter", "adult", "dna", "mushroom", "web", "climate"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes of the DataLoader")
    parser.add_argument("--without-dataloader", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further settings of lpss-train")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    print(f"{device_name(device)}, {args.threads} threads, torch {torch.__version__}: milliseconds a step\n")
    heads = (
        "bare",
        "dense",
        "overhead",
        "bare lpss",
        "lpss",
        "overhead",
        "lpss/dense",
        "dataloader",
        "ours x",
        "samples/s",
    )
    print(f"{'data set':14}{'batch':>6}" + "".join(f"{head:>11}" for head in heads))
    rows = []
    for dataset in args.datasets:
        overrides = [f"dataset={dataset}", f"device={args.device}", *args.overrides]
        batch = compose_run(overrides).train.batch_size
        one = row(dataset, batch, measure(overrides, args.turns, None if args.without_dataloader else args.workers))
        rows.append(one)
        print(
            f"{dataset:14}{one['batch']:>6}{one['bare_ms']:>11.2f}{one['dense_ms']:>11.2f}{one['overhead_dense']:>11.1%}"
            f"{one['bare_lpss_ms']:>11.2f}{one['lpss_ms']:>11.2f}{one['overhead_lpss']:>11.1%}{one['lpss_per_dense']:>11.2f}"
            f"{one.get('dataloader_ms', float('nan')):>11.2f}{one['faster_than_dataloader'] or float('nan'):>11.1f}"
            f"{one['lpss_samples_per_s']:>11,}",
            flush=True,
        )
    if args.json:
        write_json(args.json, device, {"threads": args.threads, "workers": args.workers, "rows": rows})


if __name__ == "__main__":
    main()
