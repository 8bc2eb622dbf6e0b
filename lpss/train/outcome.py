"""What came out of a run: the content of run.json, with its warnings."""

import time
from datetime import datetime, timezone

import torch

from lpss.record import SCHEMA, described
from lpss.train.build import Parts
from lpss.train.distributed import Processes
from lpss.train.environment import device_name, git_commit, peak_memory, versions
from lpss.train.resolve import ResolvedRun
from lpss.train.trainer import Trainer

UNDERFLOW_P = 1.03  # below it a tenth and more of the weights on the sphere are exactly 0 in float32


def outcome(run: ResolvedRun, parts: Parts, trainer: Trainer, status: str, processes: Processes) -> dict:
    """run.json's content as of now, but for `files`; see lpss/record.py for the fields."""
    config, masks, rows = run.config.to_dict(), parts.method.masks, trainer.progress.rows
    last, best = (rows[-1], trainer.progress.best()) if rows else ({}, {})
    seconds = trainer.stopwatch.seconds()
    return {
        "schema": SCHEMA,
        "status": status,
        **described(config),
        "p": _p_summary(parts.p),
        "accuracy_last": last.get("eval_accuracy", float("nan")),
        "accuracy_best": best.get("eval_accuracy", float("nan")),
        "accuracy_best_epoch": best.get("epoch"),
        "loss_last": last.get("eval_loss", float("nan")),
        "epochs": trainer.progress.epoch,
        "steps": trainer.progress.step,
        "sparsity_weights": masks.sparsity_weights(),
        "sparsity_all_parameters": masks.sparsity_all_parameters(),
        "sparsity_own": parts.method.sparsity_before_finish(),
        "parameters": masks.coverage.parameters,
        "maskable_weights": masks.maskable,
        "active_weights": sum(masks.active().values()),
        "train_flops_relative": parts.cost.training() * _trainings(config, parts),
        "inference_flops_relative": parts.cost.inference(),
        "inference_flops_dense": parts.cost.dense,
        "wall_time_s": round(seconds, 3),
        "peak_memory_bytes": peak_memory(parts.device),
        "device": parts.device.type,
        "device_name": device_name(parts.device),
        "processes": processes.size,
        "threads": torch.get_num_threads(),
        "modes": parts.step.modes.to_dict() | parts.backend.to_dict(),
        "code_paths": trainer.history.code_paths(),
        "fingerprints": parts.fingerprints,
        "versions": versions(),
        "git_commit": git_commit(),
        "config_hash": run.hash,
        "config": config,
        "warnings": _warnings(parts, trainer),
        "started": _iso(time.time() - seconds),
        "finished": _iso(time.time()),
    }


def _trainings(config: dict, parts: Parts) -> float:
    """How many dense runs with these settings have as many steps: 1, but for methods that train several times."""
    steps = config["train"]["epochs"] * len(parts.batches)
    return parts.total_steps / min(steps, parts.total_steps)


def _p_summary(p: dict[str, float | None]) -> float | dict[str, float] | None:
    """The one p of all layers on the sphere, or layer name -> p where they differ."""
    values = {name: value for name, value in p.items() if value is not None}
    return next(iter(values.values()), None) if len(set(values.values())) < 2 else values


def _warnings(parts: Parts, trainer: Trainer) -> list[str]:
    method = parts.method
    lines = method.coverage_warnings() + method.preflight_warnings() + method.layer_collapse()
    if skipped := trainer.history.skipped_neurons():
        lines.append(f"{skipped} neuron updates were skipped because the gradient held NaN or inf")
    if missed := parts.method.skipped_updates:
        lines.append(f"{missed} topology updates were skipped because gradients held NaN or inf")
    lines += [f"FLOPs do not count {line}" for line in parts.cost.not_counted]
    return lines + _underflow(parts)


def _underflow(parts: Parts) -> list[str]:
    """A line where p is so near 1 that powers leave float32: such weights are 0 while their masks are 1."""
    masks, layers = parts.method.masks, parts.method.masks.layers
    small = [name for name, p in parts.p.items() if p is not None and p < UNDERFLOW_P and name in masks]
    if not small:
        return []
    zeros = sum(int((layers[name].weight.eq(0) & masks[name].bool()).sum()) for name in small)
    active = sum(int(masks[name].sum()) for name in small)
    return [f"p below {UNDERFLOW_P} leaves float32: {zeros} of {active} active weights there are exactly 0"]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
