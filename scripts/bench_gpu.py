#!/usr/bin/env python3
"""Images/s of training on a GPU in every mode, each method's step against dense, memory, and the machine's limits.

    python scripts/bench_gpu.py [--json outputs/bench/gpu.json] [--nets wrn-12-1 wrn-18-1 wrn-22-2 wrn-22-4]
                                [--minutes 7.5] [--seconds 2] [--device cuda]

Runs unattended: the JSON is written after each measurement; what there is no time for is left out and named there.
Images are random, in the shapes, batch sizes and augmentations of Table 4, and stay on the device. Every number is of
the whole step: augmentation, forward, backward, masks, optimizer, and topology updates every 40 steps. `matmul` and
`copy` are what this machine reaches in bfloat16 products of large matrices and in copying memory.
(It also runs with --device cpu, slowly, to try the script.)
"""

import argparse
import time
from itertools import chain, count
from pathlib import Path

import torch
from benchmark import wait, write_json

import lpss
from lpss.cli.compose import compose_run
from lpss.data import AugmentConfig, Batches, Split
from lpss.models import build_model
from lpss.optim.build import build_optimizer
from lpss.sparse.methods import METHODS
from lpss.train.compute import ComputeOptions
from lpss.train.environment import choose_device, device_name, peak_memory, reset_peak_memory
from lpss.train.flops import count_flops
from lpss.train.resolve import resolve
from lpss.train.step import make_step

NETS = {  # data set, whose model, batch size and augmentation are used; shape, classes
    "wrn-12-1": ("mnist", (1, 28, 28), 10),
    "wrn-18-1": ("fashion_mnist", (1, 28, 28), 10),
    "wrn-22-2": ("cifar10", (3, 32, 32), 10),
    "wrn-22-4": ("tiny_imagenet", (3, 64, 64), 200),
}
FAST = ComputeOptions("bfloat16", channels_last=True, compile=True, capture=True)
MODES = {
    "bfloat16 compiled captured": FAST,
    "float32": ComputeOptions(),
    "tf32": ComputeOptions("tf32", channels_last=True),
    "bfloat16": ComputeOptions("bfloat16", channels_last=True),
    "bfloat16 captured": ComputeOptions("bfloat16", channels_last=True, capture=True),
    "bfloat16 compiled": ComputeOptions("bfloat16", channels_last=True, compile=True),
    "tf32 compiled captured": ComputeOptions("tf32", channels_last=True, compile=True, capture=True),
    "float32 captured": ComputeOptions(capture=True),
}
METHOD_NAMES = ("dense", "static", "set", "rigl", "snip", "lpss")
WINDOW = {"begin": 0.0, "end": 1.0, "update_every": 40}  # topology updates during all of training
WARM = 50  # steps: compilation, capture, a topology update


def limits(device: torch.device) -> dict:
    """bfloat16 matrix products in TFLOP/s and copies in GB/s (read + written), the best of some tries."""
    size = 8192 if device.type == "cuda" else 512
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    source = torch.empty(2**28 if device.type == "cuda" else 2**22, device=device)
    target = torch.empty_like(source)
    multiply = min(seconds_of(lambda: a @ b, device) for _ in range(10))
    copy = min(seconds_of(lambda: target.copy_(source), device) for _ in range(10))
    return {
        "matmul_bfloat16_tflops": round(2 * size**3 / multiply / 1e12, 1),
        "copy_gb_per_s": round(2 * 4 * source.numel() / copy / 1e9, 1),
    }


def seconds_of(work, device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def measure(net_name: str, mode: ComputeOptions, method_name: str, device: torch.device, seconds: float) -> dict:
    """Throughput, step time and peak memory of one net, mode and method."""
    dataset, shape, classes = NETS[net_name]
    config = resolve(compose_run([f"dataset={dataset}", f"method={method_name}"])).config
    batch_size, augment = config.train.batch_size, AugmentConfig.of(config.dataset["augment"])
    if mode.capture and device.type != "cuda":
        raise ValueError("steps can be captured on CUDA devices alone")
    torch.manual_seed(0)
    reset_peak_memory(device)
    x = torch.randint(256, (20 * batch_size, *shape), dtype=torch.uint8)
    split = Split(x, torch.randint(classes, (len(x),)))
    mean = std = (0.5,) * shape[0]
    batches = Batches(split, batch_size, seed=0, device=device, mean=mean, std=std, augment=augment)
    net = build_model(config.model, shape, classes).to(device)
    net = mode.apply(net, device).train()
    flops = count_flops(net, torch.zeros(1, *shape, device=device)).total
    optimizer = build_optimizer(net, config.optimizer, exclude=config.sphere.exclude, sparsity=0.9)
    options = {key: WINDOW.get(key, value) for key, value in config.method.items() if key != "name"}
    method = METHODS.find(method_name)(net, optimizer, sparsity=0.9, total_steps=10**6, **options)
    step = make_step(net, method, mode)
    stream = chain.from_iterable(map(batches.epoch, count()))
    warm = WARM if device.type == "cuda" else 2
    warm_up = seconds_of(lambda: [step(*next(stream), 0.1) for _ in range(warm)], device)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(40 if device.type == "cuda" else 1):
            step(*next(stream), 0.1)
            steps += 1
        wait(device)
    each = (time.perf_counter() - start) / steps
    return {
        "net": net_name,
        "method": method_name,
        "batch": batch_size,
        "precision": mode.precision,
        "compiled": mode.compile and step.compiled,
        "captured": mode.capture and step.captured,
        "step_ms": round(1e3 * each, 3),
        "images_per_s": round(batch_size / each),
        "tflops": round(3 * flops * batch_size / each / 1e12, 2),
        "warm_up_s": round(warm_up, 1),
        "peak_memory_mib": round(peak_memory(device) / 2**20),
    }


def plan(nets: list[str]) -> list[tuple[str, str, str]]:
    """(net, mode, method), the most important first."""
    first = [(net, mode, method) for net in nets for mode in list(MODES)[:1] for method in ("dense", "lpss")]
    modes = [(net, mode, "lpss") for mode in list(MODES)[1:] for net in nets]
    methods = [("wrn-22-2", list(MODES)[0], method) for method in METHOD_NAMES if "wrn-22-2" in nets]
    return list(dict.fromkeys([*first, *methods, *modes]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, after the warm-up")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, default=Path("outputs/bench/gpu.json"))
    args = parser.parse_args()
    device = choose_device(args.device)
    begin = time.perf_counter()
    result = {"limits": limits(device), "rows": [], "left_out": []}
    print(f"{device_name(device)}, torch {torch.__version__}, lpss {lpss.__version__}: {result['limits']}\n")
    print(f"{'net':10}{'method':8}{'mode':30}{'batch':>6}{'step ms':>9}{'images/s':>10}{'of matmul':>11}{'MiB':>7}")
    for net, mode, method in plan(args.nets):
        if mode not in args.modes:
            continue
        if time.perf_counter() - begin > 60 * args.minutes - 30:
            result["left_out"].append(f"{net} {method} {mode}: no time")
        else:
            try:
                row = measure(net, MODES[mode], method, device, args.seconds)
            except Exception as error:  # one failure must not cost the other measurements
                result["left_out"].append(f"{net} {method} {mode}: {str(error).splitlines()[0]}")
                print(result["left_out"][-1], flush=True)
            else:
                row["of_matmul"] = round(row["tflops"] / result["limits"]["matmul_bfloat16_tflops"], 3)
                result["rows"].append(row | {"mode": mode})
                print(
                    f"{net:10}{method:8}{mode:30}{row['batch']:>6}{row['step_ms']:>9.2f}{row['images_per_s']:>10,}"
                    f"{row['of_matmul']:>11.1%}{row['peak_memory_mib']:>7}",
                    flush=True,
                )
        write_json(args.json, device, result | {"seconds": round(time.perf_counter() - begin)})
    dense = {(row["net"], row["mode"]): row["step_ms"] for row in result["rows"] if row["method"] == "dense"}
    print("\nstep / dense step:")
    for row in result["rows"]:
        against = dense.get((row["net"], row["mode"]))
        if against and row["method"] != "dense":
            print(f"  {row['net']:10}{row['method']:8}{row['step_ms'] / against:.3f}")


if __name__ == "__main__":
    main()
