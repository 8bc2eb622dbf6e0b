#!/usr/bin/env python3
"""How much faster layers, training steps and whole runs are on a CPU when they compute from active weights alone.

    python scripts/bench_sparse.py [--parts layers conv steps auto memory inference runs] [--threads 1 2] [--quick]
                                   [--seconds 1.0] [--epochs N] [--json outputs/bench/sparse.json]
                                   [--resume] [--quieter]

    layers      Linear: forward pass and both gradients
    conv        3x3 convolutions, likewise
    steps       whole training steps: zero_grad, forward, loss, backward, masks and fused SGD (or LpSGD-m)
    auto        steps of every data set's own model under train.backend=auto
    memory      what each contestant of `steps` holds, and the peak of a process of its own
    inference   forward passes without gradients
    runs        lpss-train from start to end under train.backend=dense and auto, where LPSS_DATA has the data; takes
                long and is left out by default

bench_contestants.py says who takes part. Contestants of a cell take turns, round by round, so that other load on the
machine hits them alike; a turn is many calls, or one where it takes longer than a turn. Speed-ups are ratios of best
rounds (`speed_up`) and of medians (`median_speed_up`), to float32 dense of the same kind: for images the better of
its two memory formats, for `bare` (a net's products alone) the bare dense products, for LpSGD-m dense with LpSGD-m.
`others` is how many cores other programs kept busy meanwhile (Linux only): where it is not near 0, threads wait for
each other and ratios of several threads mean nothing.

All have their process keep the memory that it frees (lpss.engine.memory), as lpss-train does.
The json is written after every cell. With --resume cells that it holds are not measured again; with --quieter only
those are that other programs disturbed, and of two results the less disturbed stays.
"""

import argparse
import gc
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from bench_contestants import Net, Run, backends, bare_products, conv, inference, linear, sparselab, steps
from bench_sweep import busy
from benchmark import write_json
from threadpoolctl import threadpool_limits

from lpss.cli.compose import compose_run
from lpss.data import DATASETS, default_root
from lpss.engine.memory import keep_freed_memory
from lpss.models.base import choose_model
from lpss.train.environment import device_name

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
TURN = 0.01  # seconds
LONG = 0.03  # seconds of a call that fills the caches itself
REST = 0.03  # seconds until the threads of a library that has its own stop spinning
LEAST = 3  # rounds
QUIET = 0.1  # cores that others may keep busy
PARTS = ("layers", "conv", "steps", "auto", "memory", "inference", "runs")

LETTER = {"name": "mlp", "hidden": [1024, 512, 256, 128, 64]}
NETS = {  # net -> it, sparsities, seconds for its contestants
    "Nerva's MLP": (Net({"name": "mlp", "hidden": [1024, 512]}, (3072,), 10, 100), SPARSITIES, 12),
    "letter MLP": (Net(LETTER, (16,), 26, 128), SPARSITIES, 6),
    "letter MLP, BatchNorm": (Net(LETTER | {"norm": "batch"}, (16,), 26, 128), SPARSITIES, 8),
    "WRN-12-1": (Net({"name": "wrn", "depth": 12, "width": 1}, (1, 28, 28), 10, 128), SPARSITIES[:4], 10),
    "WRN-22-2": (Net({"name": "wrn", "depth": 22, "width": 2}, (3, 32, 32), 10, 128), SPARSITIES[:4], 10),
}
WIDE = Net({"name": "mlp", "hidden": [1024, 1024]}, (1024,), 10, 1)
SMALL = Net({"name": "mlp", "hidden": [32, 32]}, (16,), 4, 32)
SMALL_IMAGES = Net({"name": "wrn", "depth": 8, "width": 1}, (1, 8, 8), 4, 16)
# Data set, model -> shape of its examples, classes. Batches of its own size, of images at most 128.
EXAMPLES = {
    ("climate", "auto"): ((18,), 2),
    ("web", "auto"): ((27,), 3),
    ("mushroom", "auto"): ((126,), 2),
    ("adult", "auto"): ((105,), 2),
    ("connect4", "auto"): ((126,), 3),
    ("dna", "auto"): ((240,), 3),
    ("letter", "auto"): ((16,), 26),
    ("mnist", "cnn_mnist"): ((1, 28, 28), 10),
    ("fashion_mnist", "cnn_fashion_mnist"): ((1, 28, 28), 10),
    ("mnist", "auto"): ((1, 28, 28), 10),
    ("fashion_mnist", "auto"): ((1, 28, 28), 10),
    ("cifar10", "auto"): ((3, 32, 32), 10),
}
LARGEST_BATCH = 128


@dataclass(frozen=True)
class Cell:
    """What is measured together. `measure(seconds)` returns what the json holds of it, in about this time."""

    part: str
    name: str
    batch: int | None
    seconds: float
    measure: Callable[[float], dict]


# --- taking turns -----------------------------------------------------------------------------------------------------


def take_turns(contestants: Mapping[str, Run], seconds: float) -> dict[str, list[float]]:
    """Contestant -> milliseconds of a call, by round."""
    order = sorted(contestants, key=_has_own_threads)
    fastest = {name: min(_seconds(contestants[name], 1) for _ in range(2)) for name in order}  # the first makes state
    times: dict[str, list[float]] = {name: [] for name in contestants}
    begun, rounds = time.perf_counter(), 0
    while rounds < (LEAST if seconds else 1) or time.perf_counter() - begun < seconds:
        for before, name in zip((order[-1], *order[:-1]), order, strict=True):
            if _has_own_threads(before) != _has_own_threads(name):
                time.sleep(REST)
            if fastest[name] < LONG:
                contestants[name]()  # refills the caches, which were the others'
            times[name].append(1e3 * _seconds(contestants[name], max(1, int(TURN / fastest[name]))))
        rounds += 1
    return times


def _has_own_threads(name: str) -> bool:
    return name.startswith("sparselab") and torch.get_num_threads() > 1


def _seconds(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def timed(make: Callable[[], Mapping[str, Run]], seconds: float) -> dict:
    """Times and speed-ups of contestants."""
    times = take_turns(make(), seconds)
    best = {name: min(rounds) for name, rounds in times.items()}
    median = {name: statistics.median(rounds) for name, rounds in times.items()}
    return {
        "rounds": len(times["dense"]),
        "ms": {name: round(value, 4) for name, value in best.items()},
        "speed_up": speed_ups(best),
        "median_ms": {name: round(value, 4) for name, value in median.items()},
        "median_speed_up": speed_ups(median),
    }


def speed_ups(ms: Mapping[str, float]) -> dict[str, float]:
    """How many times faster each is than dense."""

    def dense(name: str) -> float:
        kind = next((kind for kind in (" bare", " lpsgd_m") if kind in name), None)
        return ms["dense" + kind] if kind else min(ms["dense"], ms.get("dense NCHW", ms["dense"]))

    return {name: round(dense(name) / value, 3) for name, value in ms.items()}


def timed_backends(net: Net, sparsities: tuple[float, ...], seconds: float) -> dict:
    contestants, sparse = backends(net, sparsities)
    return timed(lambda: contestants, seconds) | {"sparse_layers": sparse}


# --- memory -----------------------------------------------------------------------------------------------------------


def memory(net: Net, names: list[str]) -> dict:
    """Contestant -> bytes that it holds by what they are, and by which the peak of a process of its own rises: over
    what it had before the net was made (`peak`), and over what it had before the first step (`step_peak`)."""
    context, threads = multiprocessing.get_context("spawn"), torch.get_num_threads()
    rows = {}
    for name in names:
        with context.Pool(1) as pool:
            rows[name] = pool.apply(memory_of, (net, name, threads))
    return {"bytes": rows}


def memory_of(net: Net, name: str, threads: int) -> dict[str, int]:
    prepare(threads)
    steps(SMALL, ())["dense"]()()  # loads what a first step loads
    start = resident("VmRSS")
    sparsity = name.split()[-1]
    step = steps(net, [float(sparsity)] if sparsity[0].isdigit() else ())[name]()
    made, before = resident("VmHWM"), resident("VmRSS")
    for _ in range(3):
        step()
    peak = resident("VmHWM")
    return step.held_bytes() | {"peak": peak - start, "step_peak": max(0, peak - max(made, before))}


def resident(field: str) -> int:
    """Bytes: VmRSS is now, VmHWM the peak. (getrusage's peak is handed on from a parent process.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


# --- whole runs -------------------------------------------------------------------------------------------------------


def whole_runs(overrides: list[str], turns: int, seconds: float) -> dict:
    """Backend -> wall seconds of training and accuracy of each turn, of lpss-train."""
    rows: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "accuracy": []} for name in ("dense", "auto")}
    for _ in range(turns):
        for backend, row in rows.items():
            with tempfile.TemporaryDirectory(prefix="lpss-bench-") as output:
                settings = [*overrides, f"train.backend={backend}", f"output={output}", "device=cpu"]
                settings += [f"threads={torch.get_num_threads()}", "train.checkpoint_every=0"]
                command = [sys.executable, "-m", "lpss.cli.train", *settings]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr)
                (record,) = map(json.loads, (path.read_text() for path in Path(output).rglob("run.json")))
            row["seconds"].append(round(record["wall_time_s"], 2))
            row["accuracy"].append(record["accuracy_last"])
    return {"runs": rows, "settings": overrides}


# --- cells ------------------------------------------------------------------------------------------------------------


def cells(parts: list[str], quick: bool, epochs: int | None) -> Iterator[Cell]:
    """All that is measured with one number of threads."""
    sparsities = (0.9,) if quick else SPARSITIES

    def cell(part: str, name: str, batch: int, seconds: float, make: Callable, *arguments) -> Cell:
        return Cell(part, name, batch, seconds, partial(timed, partial(make, *arguments)))

    if "layers" in parts:
        sizes = ((64, 64),) if quick else ((256, 256), (512, 512), (1024, 1024), (1024, 3072))
        for inputs, outputs in sizes:
            for batch in (16,) if quick else (32, 128, 512) if inputs == 1024 else (32, 128):
                name, seconds = f"{inputs}x{outputs}", 4 if batch < 512 else 8
                yield cell("layers", name, batch, seconds, linear, inputs, outputs, batch, sparsities)
    if "conv" in parts:
        for channels, side in ((4, 8),) if quick else ((32, 32), (64, 16), (128, 8)):
            batch, name = 16 if quick else 128, f"{channels} channels, {side}x{side}"
            yield cell("conv", name, batch, 8, conv, channels, side, batch, sparsities)
    small = {"small MLP": (SMALL, (0.9,), 0), "small WRN": (SMALL_IMAGES, (0.9,), 0)}
    nets = small if quick else NETS
    if "steps" in parts:
        for name, (net, chosen, seconds) in nets.items():
            yield Cell("steps", name, net.batch, seconds, partial(_timed_steps, net, chosen))
    if "auto" in parts:
        for (dataset, model), (shape, classes) in EXAMPLES.items():
            if quick and dataset != "climate":
                continue
            config = compose_run([f"dataset={dataset}", f"model={model}"])
            chosen = choose_model(config.model, config.dataset["model"])
            batch = min(config.train.batch_size, LARGEST_BATCH if len(shape) == 3 else config.train.batch_size)
            net = Net(chosen, shape, classes, batch)
            name = dataset if model == "auto" else f"{dataset}, CNN"
            yield Cell("auto", name, batch, 2, partial(timed_backends, net, (0.9,) if quick else (0.5, 0.8, 0.9)))
    if "memory" in parts:
        for name, (net, chosen, _) in nets.items():
            names = ["dense", *([] if quick else ["masked"])]
            names += [f"ours {one}" for one in (0.9, 0.95, 0.99) if one in chosen]
            names += ["dense lpsgd_m", "ours lpsgd_m 0.9"] if name == "Nerva's MLP" else []
            if not quick or net is SMALL:
                yield Cell("memory", name, net.batch, 0, lambda _, net=net, names=names: memory(net, names))
    if "inference" in parts:
        for batch in (1, 16) if quick else (1, 128):
            net = Net(SMALL.model if quick else WIDE.model, (16,) if quick else WIDE.input_shape, 10, batch)
            widths = "-".join(map(str, (*net.input_shape, *net.model["hidden"], net.classes)))
            yield cell("inference", widths, batch, 3, inference, net, sparsities)
    if "runs" in parts:
        todo = [("letter", name, epochs) for name in ("static", "set", "rigl", "gmp", "lpss")] + [
            ("mnist", "static", 1)
        ]
        for dataset, method, length in [("digits", "static", 1)] if quick else todo:
            if DATASETS[dataset]().status(default_root()).state == "missing":
                print(f"runs: no {dataset} in {default_root()} (see lpss-data): left out")
                continue
            overrides = [f"dataset={dataset}", f"method={method}", "sparsity=0.9", "seed=0"]
            overrides += [f"train.epochs={length}"] if length else []
            yield Cell("runs", f"{dataset}, {method}", None, 0, partial(whole_runs, overrides, 1 if quick else 2))


def _timed_steps(net: Net, sparsities: tuple[float, ...], seconds: float) -> dict:
    bare = {} if net.images else bare_products(net, sparsities)
    return timed(lambda: {name: make() for name, make in steps(net, sparsities).items()} | bare, seconds)


# --- all of it --------------------------------------------------------------------------------------------------------


def prepare(threads: int) -> None:
    """What every process does first."""
    keep_freed_memory()
    logging.getLogger("lpss").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # of libraries that have threads of their own


def own_seconds() -> float:
    """That this process and those it has started have worked."""
    return sum(os.times()[:4])


def show(cell: dict) -> None:
    """Print a cell: what does not depend on sparsity in a line, the rest in one for each kind."""
    batch = f", batch {cell['batch']}" if cell["batch"] else ""
    print(f"\n{cell['part']}: {cell['name']}{batch}, {cell['threads']} threads (others {cell['others']:.2f})", end="")
    if "runs" in cell:
        print()
        for backend, row in cell["runs"].items():
            print(f"  {backend:16}{min(row['seconds']):8.1f} s  accuracy {row['accuracy'][-1]:.4f}")
    elif "bytes" in cell:
        print(", MB")
        for name, row in cell["bytes"].items():
            print(f"  {name:20}" + "".join(f"  {key} {value / 1e6:.2f}" for key, value in row.items()))
    else:
        print(f", {cell['rounds']} rounds: dense {cell['ms']['dense']:.3f} ms")
        kinds: dict[str, list[str]] = {}
        for name, value in cell["speed_up"].items():
            kind, _, last = name.rpartition(" ")
            kind, sparsity = (kind, f"{last}: ") if last[0].isdigit() else (name, "")
            kinds.setdefault(kind, []).append(f"{sparsity}{value:.2f}")
        for kind, values in kinds.items():
            print(f"  {kind:16}" + "".join(f"{value:>13}" for value in values))
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1], metavar="PART")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, a round each: only to see that it works")
    parser.add_argument("--seconds", type=float, default=1.0, help="multiplies the time for each cell")
    parser.add_argument("--epochs", type=int, help="of whole runs on letter; default: the data set's own")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resume", action="store_true", help="keep the cells that the json holds")
    parser.add_argument("--quieter", action="store_true", help="the same, but measure disturbed ones again")
    args = parser.parse_args()
    device, done = torch.device("cpu"), {}
    if (args.resume or args.quieter) and args.json and args.json.exists():
        done = {key_of(cell): cell for cell in json.loads(args.json.read_text(encoding="utf-8"))["cells"]}
    print(f"{device_name(device)}, torch {torch.__version__}, SparseLab {sparselab.__version__ if sparselab else '-'}")
    for threads in args.threads:
        prepare(threads)
        for cell in cells(args.parts, args.quick, args.epochs):
            facts = {"part": cell.part, "name": cell.name, "batch": cell.batch, "threads": threads}
            known = done.get(key_of(facts))
            if known and not (args.quieter and known["others"] > QUIET):
                continue
            if cell.part == "memory" and threads != args.threads[0]:
                continue
            facts |= measured(cell, 0 if args.quick else args.seconds * cell.seconds)
            show(facts)
            if not known or facts["others"] < known["others"]:
                done[key_of(facts)] = facts
            if args.json:
                about = {"sparselab": sparselab.__version__ if sparselab else None, "cells": list(done.values())}
                write_json(args.json, device, about)


def key_of(cell: dict) -> tuple:
    return tuple(cell[name] for name in ("part", "name", "batch", "threads"))


def measured(cell: Cell, seconds: float) -> dict:
    """The cell's results, and how many cores others kept busy meanwhile."""
    gc.collect()  # nets and their methods point at each other
    torch.manual_seed(0)
    own, everybody, begun = own_seconds(), busy(), time.perf_counter()
    results = cell.measure(seconds)
    others = busy() - everybody - (own_seconds() - own)
    return results | {"others": round(max(0.0, others) / (time.perf_counter() - begun), 2)}


if __name__ == "__main__":
    main()
