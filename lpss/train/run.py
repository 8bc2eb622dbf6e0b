"""One run from its config to its folder: data, net, optimizer, method, training, results."""

import importlib
import logging
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import torch

from lpss.config import RunConfig
from lpss.data import DATASETS, AugmentConfig, Batches, eval_batches, hold_out, load
from lpss.errors import LpssError, UsageError
from lpss.models import MODELS, build_model, choose_model
from lpss.optim.build import OPTIMIZERS, build_optimizer
from lpss.optim.groups import layer_p
from lpss.options import make_options
from lpss.schedules import SCHEDULES, build_schedule
from lpss.sparse.methods import METHODS, Method
from lpss.train import checkpoint
from lpss.train.compute import ComputeOptions
from lpss.train.cost import Cost
from lpss.train.distributed import SINGLE_PROCESS, Processes, join_processes
from lpss.train.environment import (
    choose_device,
    device_name,
    git_commit,
    peak_memory,
    reset_peak_memory,
    versions,
)
from lpss.train.interrupt import Interrupts
from lpss.train.loop import Diverged, Progress, fit
from lpss.train.record import RunFolder
from lpss.train.step import make_step

log = logging.getLogger("lpss")
EVAL_BATCH = 1000
UNDERFLOW_P = 1.03  # below it a tenth and more of the weights on the sphere are exactly 0 in float32
ENDED = ("finished", "diverged")


def complete(config: RunConfig) -> RunConfig:
    """The config with every option of every group written out, `auto` resolved, and nothing that has no effect.

    So settings that mean the same have the same hash. Imports `config.plugins` first. Raises UsageError.
    """
    _import_plugins(config.plugins)
    config.dataset = DATASETS.complete(config.dataset)
    config.model = MODELS.complete(choose_model(config.model, config.dataset["model"]))
    config.optimizer = asdict(make_options(OPTIMIZERS.find(config.optimizer["name"]), config.optimizer, "optimizer"))
    config.method = METHODS.complete(config.method)
    config.schedule = SCHEDULES.complete(config.schedule)
    AugmentConfig.of(config.dataset["augment"])
    if config.method["name"] == "dense":
        config.sparsity = 0.0
    return config


def run(config: RunConfig, *, bar: bool = False) -> dict:
    """Train as configured and return run.json's content; a run that has ended before is not trained again, and one that
    another process is training is left to it (status `running`).

    Raises LpssError for what the user can mend. Other exceptions are recorded in run.json with status `failed`
    before they are raised again; such a run goes on from its last checkpoint at the next call.
    """
    config = complete(config)
    processes = join_processes()
    folder = RunFolder(config.folder())
    earlier = processes.broadcast_object(folder.result())
    if earlier is not None and earlier.get("status") in ENDED:
        log.info("%s: %s before, skipped (%s)", _label(config), earlier["status"], folder.path)
        return earlier
    session = Session(config, folder, processes)
    if not processes.is_main:
        log.setLevel(logging.ERROR)
    with folder.lock() if processes.is_main else nullcontext(True) as mine:
        # Another process may have ended it while this one was getting ready.
        earlier = processes.broadcast_object((mine, folder.result()) if processes.is_main else None)
        if not earlier[0]:
            log.info("%s: another process is at it, skipped (%s)", _label(config), folder.path)
            return session.result("running")
        if earlier[1] is not None and earlier[1].get("status") in ENDED:
            return earlier[1]
        return session.train(False) if not processes.is_main else _train_and_log(session, bar)


def _train_and_log(session: "Session", bar: bool) -> dict:
    folder = session.folder
    folder.remove_leftovers()
    folder.write_config(session.config)
    handler = folder.log_handler()
    log.addHandler(handler)
    try:
        return session.train(bar)
    except BaseException as error:
        if isinstance(error, Exception):
            folder.write_result(session.result("failed") | {"error": f"{type(error).__name__}: {error}"})
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


class Session:
    """Everything one run is made of, built from its config; `train` runs it to its end."""

    def __init__(self, config: RunConfig, folder: RunFolder, processes: Processes = SINGLE_PROCESS):
        self.config, self.folder, self.processes = config, folder, processes
        self.started = time.time()
        if config.threads:
            torch.set_num_threads(config.threads)
        self.device = choose_device(config.device)
        reset_peak_memory(self.device)
        train = config.train
        processes.check_batch(train.batch_size)
        with processes.main_process_first():
            data = load(
                DATASETS.options(config.dataset),
                config.data.root,
                config.data.download,
            )
        if train.validation:
            data = hold_out(data, train.validation, config.seed)
        self.augment = AugmentConfig.of(config.dataset["augment"])
        self.batches = Batches(
            data.train,
            train.batch_size,
            seed=config.seed,
            device=self.device,
            mean=data.mean,
            std=data.std,
            augment=self.augment,
            shard=(processes.rank, processes.size),
        )
        test = data.test.to(self.device)
        self.eval_batches = lambda shard=(processes.rank, processes.size): eval_batches(
            test, EVAL_BATCH, device=self.device, mean=data.mean, std=data.std, shard=shard
        )
        steps = train.epochs * len(self.batches)
        self.total_steps = min(steps, train.max_steps or steps)

        torch.manual_seed(config.seed)
        self.modes = ComputeOptions.choose(train, self.device, steps=self.total_steps, processes=processes.size)
        net = build_model(config.model, {}, data.input_shape, data.classes).to(self.device)
        self.net = self.modes.apply(processes.synchronous_norms(net, self.device), self.device)
        self.schedule = build_schedule(config.schedule)
        self.optimizer = build_optimizer(
            self.net, config.optimizer, exclude=config.sphere.exclude, sparsity=config.sparsity
        )
        self.method: Method = METHODS.find(config.method["name"])(
            self.net,
            self.optimizer,
            sparsity=config.sparsity,
            total_steps=self.total_steps,
            exclude=config.mask.exclude,
            rescale=config.mask.rescale,
            seed=config.seed,
            **{key: value for key, value in config.method.items() if key != "name"},
        )
        self.cost = Cost(self.net, self.method.masks, next(self.eval_batches((0, 1)))[0][:1])
        self.progress = Progress()
        self.preflight_warnings = self.method.preflight_warnings()
        self.earlier_seconds, self.earlier_nonfinite = 0.0, 0  # of what a checkpoint continues

    def train(self, bar: bool) -> dict:
        """Train to the end, from the checkpoint where there is one; returns run.json's content."""
        self.step = make_step(self.net, self.method, self.modes, model=self.processes.wrap(self.net))
        for line in self.preflight_warnings:
            log.warning("%s: %s", _label(self.config), line)
        self._resume()
        status = "finished"
        try:
            with Interrupts() as self.interrupts:
                self._fit(bar)
        except Diverged as error:
            status = "diverged"
            log.warning("%s: %s", _label(self.config), error)
        result = self.result(status)
        if self.processes.is_main:
            self._write(result)
        return result

    def _fit(self, bar: bool) -> None:
        fit(
            self.step,
            self.batches,
            self.schedule,
            self.eval_batches,
            self.cost,
            epochs=self.config.train.epochs,
            total_steps=self.total_steps,
            progress=self.progress,
            processes=self.processes,
            bar=bar,
            label=_label(self.config),
            after_step=self._after_step,
            after_epoch=self._after_epoch,
        )

    def _write(self, result: dict) -> None:
        self.folder.write_metrics(self.progress.rows)
        self.folder.write_layers(self.method, self.p)
        self.folder.write_weights(self.net, self.method)
        self.folder.write_result(result)
        log.info(
            "%s: %s, accuracy %.4f (best %.4f), sparsity %.4f, %.0f s -> %s",
            _label(self.config),
            result["status"],
            result["accuracy_last"],
            result["accuracy_best"],
            result["sparsity_weights"],
            result["wall_time_s"],
            self.folder.path,
        )

    @property
    def p(self) -> dict[str, float | None]:
        """Layer name -> p of the sphere its weights are on, None for off."""
        return layer_p(
            self.net, self.config.optimizer.get("p"), exclude=self.config.sphere.exclude, sparsity=self.config.sparsity
        )

    def _p_summary(self) -> float | dict[str, float] | None:
        """The one p of all layers on the sphere, or layer name -> p where they differ."""
        values = {name: value for name, value in self.p.items() if value is not None}
        return next(iter(values.values()), None) if len(set(values.values())) < 2 else values

    def result(self, status: str) -> dict:
        """run.json's content as of now."""
        config, masks, rows = self.config, self.method.masks, self.progress.rows
        last = rows[-1] if rows else {}
        best = self.progress.best() if rows else {}
        return {
            "schema": 1,
            "status": status,
            "experiment": config.experiment_name,
            "dataset": config.dataset["name"],
            "model": config.model["name"],
            "method": config.method["name"],
            "optimizer": config.optimizer["name"],
            "sparsity": config.sparsity,
            "seed": config.seed,
            "p": self._p_summary(),
            "accuracy_last": last.get("eval_accuracy", float("nan")),
            "accuracy_best": best.get("eval_accuracy", float("nan")),
            "accuracy_best_epoch": best.get("epoch"),
            "evaluated_on": "validation" if config.train.validation else "test",
            "loss_last": last.get("eval_loss", float("nan")),
            "epochs": self.progress.epoch,
            "steps": self.progress.step,
            "sparsity_weights": masks.sparsity_weights(),
            "sparsity_all_parameters": masks.sparsity_all_parameters(),
            "sparsity_own": self.method.sparsity_before_finish(),
            "parameters": sum(param.numel() for param in self.net.parameters()),
            "maskable_weights": masks.maskable,
            "active_weights": sum(masks.active().values()),
            "train_flops_relative": self.cost.training(),
            "inference_flops_relative": self.cost.inference(),
            "inference_flops_dense": self.cost.dense,
            "wall_time_s": round(self.earlier_seconds + time.time() - self.started, 3),
            "peak_memory_bytes": peak_memory(self.device),
            "device": self.device.type,
            "device_name": device_name(self.device),
            "processes": self.processes.size,
            "threads": torch.get_num_threads(),
            "modes": self.modes.to_dict(),
            "versions": versions(),
            "git_commit": git_commit(),
            "config_hash": config.hash(),
            "config": config.to_dict(),
            "warnings": self._warnings(),
            "started": _iso(self.started - self.earlier_seconds),
            "finished": _iso(time.time()),
        }

    def _warnings(self) -> list[str]:
        lines = self.preflight_warnings + self.method.layer_collapse()
        if skipped := self._nonfinite():
            lines.append(f"{skipped} neuron updates were skipped because the gradient held NaN or inf")
        if missed := self.method.skipped_updates:
            lines.append(f"{missed} topology updates were skipped because gradients held NaN or inf")
        return lines + self._underflow()

    def _underflow(self) -> list[str]:
        """A line where p is so near 1 that powers leave float32: such weights are 0 while their masks are 1."""
        small = [name for name, p in self.p.items() if p is not None and p < UNDERFLOW_P and name in self.method.masks]
        if not small:
            return []
        masks, layers = self.method.masks, self.method.masks.layers
        zeros = sum(int((layers[name].weight.eq(0) & masks[name].bool()).sum()) for name in small)
        active = sum(int(masks[name].sum()) for name in small)
        return [f"p below {UNDERFLOW_P} leaves float32: {zeros} of {active} active weights there are exactly 0"]

    def _after_step(self, progress: Progress) -> None:
        if self.interrupts.received is None:
            return
        if self.processes.is_main and self.config.train.checkpoint_every:
            self._save()
            log.warning("%s: interrupted and saved after step %d", _label(self.config), progress.step)
        self.interrupts.leave()

    def _after_epoch(self, progress: Progress) -> None:
        if not self.processes.is_main:
            return
        self.folder.write_metrics(progress.rows)
        every = self.config.train.checkpoint_every
        if every and progress.epoch % every == 0 and progress.step < self.total_steps:
            self._save()

    def _save(self) -> None:
        checkpoint.save(
            self.folder.checkpoint,
            {
                "hash": self.config.hash(),
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "method": self.method.state_dict(),
                "cost": self.cost.state_dict(),
                "step": self.step.state_dict(),
                "progress": asdict(self.progress),
                "rng": torch.get_rng_state(),
                "nonfinite": self._nonfinite(),
                "seconds": self.earlier_seconds + time.time() - self.started,
            },
        )

    def _nonfinite(self) -> int:
        return self.earlier_nonfinite + getattr(self.optimizer, "nonfinite_neurons", 0)

    def _resume(self) -> None:
        # The first process's, for all: the others may not even see its disk.
        state = self.processes.broadcast_object(
            checkpoint.load(self.folder.checkpoint, self.device) if self.processes.is_main else None
        )
        if not isinstance(state, dict) or state.get("hash") != self.config.hash():
            return
        try:
            self._restore(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
            raise LpssError(
                f"{self.folder.checkpoint} does not fit this run ({reason}); remove it to start afresh"
            ) from error
        log.info("%s: resumed after step %d", _label(self.config), self.progress.step)

    def _restore(self, state: dict) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.cost.load_state_dict(state["cost"])
        self.step.load_state_dict(state["step"])
        self.progress = Progress(**state["progress"])
        self.earlier_seconds, self.earlier_nonfinite = state["seconds"], state["nonfinite"]
        torch.set_rng_state(state["rng"].cpu())


def _label(config: RunConfig) -> str:
    return f"{config.dataset['name']} {config.method['name']} s={config.sparsity:g} seed={config.seed}"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _import_plugins(names: list[str]) -> None:
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module may fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise UsageError(f"plugins: module {name!r} cannot be imported from {Path.cwd()}: {reason}") from error
