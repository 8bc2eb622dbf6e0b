#!/usr/bin/env python3
"""Time a sweep of small runs over processes that share the cores, or one GPU.

    python scripts/bench_sweep.py [--dataset letter] [--method lpss] [--runs 4] [--processes 1 2] [--steps 300]
                                  [--device cpu] [--rounds 3] [--json outputs/bench/sweep.json] [KEY=VALUE ...]

The same runs, which differ in their seed, are executed by one process with one thread (speed-up is relative to that),
by several processes with one thread each, and, on a CPU, by one process with several threads; efficiency is the
speed-up divided by the threads of all processes. The processes of an arrangement import torch, make a first step and
wait for each other; then the clock starts and they take the runs from one queue. A run is the same as in
`lpss-train -m`: reading data, training, evaluation, and every file of its folder.

Arrangements alternate, round by round, so that other load on the machine hits them alike; the table shows medians.
`others` is how many cores other programs kept busy meanwhile (Linux only): where it is not near 0, the speed-ups are
too low. Where it is, and `cpu s/run` rises with the processes, these compete for memory or caches.
"""

import argparse
import logging
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from benchmark import write_json

from lpss.cli.compose import compose_run
from lpss.config import RunConfig
from lpss.train.environment import choose_device, device_name, usable_cores
from lpss.train.run import run

PATIENCE = 600  # seconds in which all processes must have started
everybody = None  # in a worker: the barrier at which processes wait for each other


def start(barrier, threads: int) -> None:
    """What a worker does first."""
    global everybody
    everybody = barrier
    torch.set_num_threads(threads)
    logging.getLogger("lpss").setLevel(logging.ERROR)


def first_step(config: RunConfig) -> None:
    """Load and build what only the first run of a process needs; return when every process has done so."""
    folder = tempfile.mkdtemp(dir=config.output)
    run(replace(config, output=folder, train=replace(config.train, max_steps=1)))
    everybody.wait(PATIENCE)


def one_run(config: RunConfig) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    cpu, wall = time.process_time(), time.perf_counter()
    status = run(config)["status"]
    if status != "finished":
        raise RuntimeError(f"seed {config.seed}: {status}")
    return time.process_time() - cpu, time.perf_counter() - wall


def busy() -> float:
    """Seconds that all cores together have worked since boot, for any program; NaN if unknown."""
    try:
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:9])
    except OSError:
        return math.nan
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def measure(config: RunConfig, runs: int, processes: int, threads: int) -> dict:
    """Seconds of all runs, without and with the start of the processes."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="lpss-bench-") as output:
        configs = [replace(config, seed=seed, output=output) for seed in range(runs)]
        born = time.perf_counter()
        with ProcessPoolExecutor(processes, context, start, (context.Barrier(processes), threads)) as pool:
            list(pool.map(first_step, configs[:1] * processes))
            ready, worked = time.perf_counter(), busy()
            seconds = list(pool.map(one_run, configs))
            end, worked = time.perf_counter(), busy() - worked
    return {
        "wall_s": end - ready,
        "wall_with_start_s": end - born,
        "cpu_s_per_run": statistics.mean(cpu for cpu, _ in seconds),
        "wall_s_per_run": statistics.mean(wall for _, wall in seconds),
        "others": max(0, worked - sum(cpu for cpu, _ in seconds)) / (end - ready),
    }


def summary(measured: dict[tuple[int, int], list[dict]], runs: int) -> list[dict]:
    """A row for each arrangement: medians over rounds and ratios to the first arrangement."""
    rows = []
    for (processes, threads), rounds in measured.items():
        row = {key: statistics.median(measures[key] for measures in rounds) for key in rounds[0]}
        speed_up = (rows[0] if rows else row)["wall_s"] / row["wall_s"]
        rows.append(
            {"processes": processes, "threads": threads}
            | row
            | {
                "runs_per_minute": 60 * runs / row["wall_s"],
                "speed_up": speed_up,
                "efficiency": speed_up / (processes * threads),
                "rounds": rounds,
            }
        )
    return rows


def show(rows: list[dict]) -> None:
    print(
        f"{'processes':>9}{'threads':>9}{'wall s':>9}{'with start-up':>15}{'runs/min':>10}{'speed-up':>10}"
        f"{'efficiency':>12}{'cpu s/run':>11}{'others':>8}"
    )
    for row in rows:
        print(
            f"{row['processes']:>9}{row['threads']:>9}{row['wall_s']:>9.2f}{row['wall_with_start_s']:>15.2f}"
            f"{row['runs_per_minute']:>10.1f}{row['speed_up']:>10.2f}{row['efficiency']:>12.2f}"
            f"{row['cpu_s_per_run']:>11.2f}{row['others']:>8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="letter")
    parser.add_argument("--method", default="lpss")
    parser.add_argument("--runs", type=int, help="default: two for each of the most processes")
    parser.add_argument("--processes", nargs="+", type=int, help="default: 1 and all cores; on a GPU 1 2 4 8")
    parser.add_argument("--steps", type=int, help="of each run; default: three epochs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further settings of lpss-train")
    args = parser.parse_args()
    device = choose_device(args.device)
    processes = args.processes or ([1, usable_cores()] if device.type == "cpu" else [1, 2, 4, 8])
    runs = args.runs or 2 * max(processes)
    arrangements = dict.fromkeys([(1, 1)] + [(count, 1) for count in processes])
    if device.type == "cpu":
        arrangements |= dict.fromkeys((1, count) for count in processes)
    budget = [f"train.max_steps={args.steps}"] if args.steps else ["train.epochs=3"]
    chosen = [f"dataset={args.dataset}", f"method={args.method}", f"device={args.device}", *budget, *args.overrides]
    config = compose_run(chosen)

    print(f"{device_name(device)}, {usable_cores()} cores, torch {torch.__version__}:", runs, "runs,", *chosen, "\n")
    measured = {arrangement: [] for arrangement in arrangements}
    for _ in range(args.rounds):
        for (count, threads), rounds in measured.items():
            rounds.append(measure(config, runs, count, threads))
    rows = summary(measured, runs)
    show(rows)
    if args.json:
        write_json(args.json, device, {"runs": runs, "settings": chosen, "rows": rows})


if __name__ == "__main__":
    main()
