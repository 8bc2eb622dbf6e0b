#!/usr/bin/env python3
"""Time the training loop: samples/s against a DataLoader loop, LpSS against dense SGD, and the overhead of the loop.

    python scripts/bench_loop.py [--datasets letter adult web mnist] [--turns 5] [--threads 2] [--device cpu]
                                 [--json outputs/bench/loop.json] [KEY=VALUE ...]
    python scripts/bench_loop.py --images mnist-12-1 cifar10-22-2 --steps 4 --threads 1 --json outputs/bench/images.json

Contestants, which take turns of 40 steps in one process, so that other load on the machine hits them alike (medians):

    bare         forward, loss, backward, optimizer on one fixed batch, dense SGD: no overhead
    dense        dense SGD in our loop                (overhead: dense / bare)
    lpss         LpSS at sparsity .9 in our loop, with a topology update every 40 steps
    bare lpss    as bare, with LpSS's optimizer       (overhead: lpss / bare lpss)
    dataloader   LpSS as the authors' demo is built: a DataLoader with per-sample transforms, LpSGD-m as its equations
                 read, masks applied to weights and gradients layer by layer, a second forward and backward pass at
                 topology updates, the loss read at every step

With --images, wide residual nets DATASET-DEPTH-WIDTH in our loop, dense and with RigL at sparsity .9: in float32 on
dense kernels, as without settings, and with train.precision and train.backend on their own and together (turns of
--steps). What counts there is the processor's time, which other load on the machine lengthens less than the clock's.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import chain, count, islice
from pathlib import Path

import torch
from bench_dataloader import DataLoaderLoop
from benchmark import wait, write_json
from torch.nn import functional as F

from lpss.cli.compose import compose_run
from lpss.train.build import Parts, build
from lpss.train.environment import choose_device, device_name
from lpss.train.resolve import ResolvedRun, resolve
from lpss.train.trainer import Trainer

BLOCK = 40  # steps in a turn: one topology update in each


class Turns:
    """Epochs of some steps each, on batches that continue where the last epoch ended."""

    def __init__(self, batches, steps: int):
        self.stream, self.steps = chain.from_iterable(map(batches.epoch, count())), steps

    def epoch(self, number: int, start: int = 0):
        return islice(self.stream, self.steps - start)


class OurLoop:
    """`lpss.train.trainer.Trainer`, an epoch of so many steps in each turn."""

    def __init__(self, parts: Parts, steps: int = BLOCK):
        x, y = next(iter(parts.eval_batches()))
        self.few = [(x[:8], y[:8])]
        turns = Turns(parts.batches, steps)
        self.trainer = Trainer(
            parts.step,
            turns,
            parts.schedule,
            self._few,
            parts.cost,
            epochs=0,
            total_steps=parts.total_steps,
        )

    def turn(self) -> float:
        self.trainer.epochs += 1
        self.trainer.train()
        return self.trainer.progress.rows[-1]["seconds"]

    def processor_turn(self) -> float:
        """A turn in seconds of the processor."""
        start = time.process_time()
        self.turn()
        return self.ended - start

    def _few(self) -> list:
        """What the trainer evaluates on when a turn's steps have ended: as little as can be."""
        self.ended = time.process_time()
        return self.few


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
        contestants["dataloader"] = DataLoaderLoop(run.config, build(run), workers, BLOCK)
    return take_turns({name: contestant.turn for name, contestant in contestants.items()}, turns, BLOCK)


def take_turns(turn_of: dict[str, Callable[[], float]], turns: int, steps: int) -> dict[str, float]:
    """Contestant -> median seconds for a step, where each is given by what takes a turn and returns its seconds."""
    times = {name: [] for name in turn_of}
    for turn in range(turns + 1):
        for name, take in turn_of.items():
            seconds = take()
            if turn:  # the first makes state and warms up
                times[name].append(seconds / steps)
    return {name: statistics.median(values) for name, values in times.items()}


IMAGE_METHODS = {"dense": ["method=dense"], "rigl": ["method=rigl", "sparsity=0.9"]}
# What is called the float32 step on dense kernels, and what is compared with it: (precision, backend).
IMAGE_MODES = {
    "before": ("float32", "dense"),
    "precision": ("auto", "dense"),
    "backend": ("float32", "auto"),
    "both": ("auto", "auto"),
}


def image_row(net: str, overrides: list[str], turns: int, steps: int) -> dict:
    """Milliseconds a step of DATASET-DEPTH-WIDTH, by method and mode, and what `auto` came to; prints them."""
    dataset, depth, width = net.rsplit("-", 2)
    model = ["model=wrn", f"model.depth={depth}", f"model.width={width}"]
    rows = []
    for method, chosen in IMAGE_METHODS.items():  # one after the other, to hold few nets at once
        turn_of, found = {}, {}
        for mode, (precision, backend) in IMAGE_MODES.items():
            modes = [f"train.precision={precision}", f"train.backend={backend}", "train.epochs=1000"]
            parts = build(resolve(compose_run([f"dataset={dataset}", *model, *chosen, *modes, *overrides])))
            turn_of[mode], found[mode] = OurLoop(parts, steps).processor_turn, parts.step.modes.precision
        for mode, seconds in take_turns(turn_of, turns, steps).items():
            one = {"method": method, "mode": mode, "precision": found[mode], "step_ms": round(1e3 * seconds, 2)}
            rows.append(one)
            print(f"{net:16}{method:8}{mode:11}{one['precision']:10}{one['step_ms']:>10.1f} ms a step", flush=True)
    return {"net": net, "batch": parts.batches.batch_size, "steps": rows}


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
    parser.add_argument("--images", nargs="+", metavar="NET", help="wide residual nets alone, DATASET-DEPTH-WIDTH each")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn of --images")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further settings of lpss-train")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    print(f"{device_name(device)}, {args.threads} threads, torch {torch.__version__}: milliseconds a step\n")
    if args.images:
        settings = [f"device={args.device}", *args.overrides]
        rows = [image_row(net, settings, args.turns, args.steps) for net in args.images]
        if args.json:
            write_json(
                args.json, device, {"threads": args.threads, "steps": args.steps, "turns": args.turns, "rows": rows}
            )
        return
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
