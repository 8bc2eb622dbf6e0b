"""Training: batch -> step (loss, gradients, method, optimizer) -> metrics, an epoch at a time, resumable at any step.

Nothing in the batch loop reads the device, unless a progress bar is watched.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Protocol

import torch
from tqdm import tqdm

from lpss.sparse.average import SparseAverage
from lpss.sparse.explored import Explored
from lpss.train.best_epoch import BestEpoch
from lpss.train.cost import Cost
from lpss.train.distributed import SINGLE_PROCESS, Processes
from lpss.train.evaluate import evaluate
from lpss.train.step import TrainStep


class Diverged(Exception):
    """The training loss is not finite any more."""


class Stateful(Protocol):
    """Something that a checkpoint holds: `state_dict` gives tensors and plain values, `load_state_dict` takes them."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> object: ...


class Batches(Protocol):
    """What training walks through (`lpss.data.Batches`)."""

    def epoch(self, epoch: int, start: int = 0) -> Iterable:
        """The batches (x, y) of an epoch from number `start` on."""


@dataclass
class Progress:
    """How far training is.

    `epoch`: epochs that are complete; `step`: steps in all; the others: of the epoch that is not complete,
    `epoch_samples` being those of this process.
    """

    epoch: int = 0
    step: int = 0
    epoch_step: int = 0
    epoch_samples: int = 0
    epoch_seconds: float = 0.0
    rows: list[dict] = field(default_factory=list)  # of metrics.csv

    def best(self) -> dict:
        """The metrics row of the best epoch (the first of equals)."""
        return max(self.rows, key=lambda row: row["eval_accuracy"])

    def state_dict(self) -> dict:
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        for name, value in asdict(Progress(**state)).items():
            setattr(self, name, value)


class RandomState:
    """torch's global generator."""

    def state_dict(self) -> dict:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state: dict) -> None:
        torch.set_rng_state(state["torch"].cpu())


class Stopwatch:
    """Seconds since it was made, and those of processes that a checkpoint continues, whatever the clock is set to."""

    def __init__(self):
        self.begun, self.earlier = time.monotonic(), 0.0

    def seconds(self) -> float:
        return self.earlier + time.monotonic() - self.begun

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within is not training, and takes no time."""
        before = time.monotonic()
        yield
        self.begun += time.monotonic() - before

    def state_dict(self) -> dict:
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: dict) -> None:
        self.earlier = state["seconds"]


class History:
    """What a run's steps have been through, over all processes that a checkpoint continues."""

    def __init__(self, step: TrainStep):
        self.step, self.earlier_skipped, self.earlier_paths = step, 0, {}

    def skipped_neurons(self) -> int:
        """How many neuron updates the optimizer has skipped, their gradient not being finite."""
        return self.earlier_skipped + getattr(self.step.method.optimizer, "nonfinite_neurons", 0)

    def code_paths(self) -> dict[str, str]:
        """Which implementations ran: {"optimizer step": ..., "training step": ...}; empty before the first step."""
        ran: dict[str, set[str]] = {"optimizer step": set(), "training step": set()}
        if self.step.taken:
            launched = [word for word in ("compiled", "captured") if getattr(self.step, word)] or ["eager"]
            ran["optimizer step"] = getattr(self.step.method.optimizer, "code_paths", {"torch"})
            ran["training step"] = {" and ".join(launched)}
        paths = {name: sorted({*names, *self.earlier_paths.get(name, ())}) for name, names in ran.items()}
        return {name: ", ".join(names) for name, names in paths.items() if names}

    def state_dict(self) -> dict:
        paths = {name: names.split(", ") for name, names in self.code_paths().items()}
        return {"skipped_neurons": self.skipped_neurons(), "code_paths": paths}

    def load_state_dict(self, state: dict) -> None:
        self.earlier_skipped, self.earlier_paths = state["skipped_neurons"], state["code_paths"]


class Trainer:
    """Trains until `epochs` or `total_steps` are reached, from where `progress` stands.

    Args:
        step: what happens with a batch; it knows the net, the method and, through it, the optimizer.
        batches: see `Batches`. schedule: training progress in [0, 1] -> factor on every group's learning rate.
        eval_batches: yields (x, y) to evaluate on after every epoch.
        cost: counts FLOPs. backend, precision: how the net computes, which a checkpoint must hold, too.
        average: of the net's weights over the steps, which is evaluated in the net's place.
        best: keeps the weights of the best epoch.
        processes: those that share the run; each gives its own part of every batch.
        bar, label: whether to show a progress bar, and what it says.
        after_step, after_epoch: called at every step, and when `progress` holds a new row: a run may be saved and left.

    `components` are all that a checkpoint must hold for training to go on as if nothing had happened.
    """

    def __init__(
        self,
        step: TrainStep,
        batches: Batches,
        schedule: Callable[[float], float],
        eval_batches: Callable[[], Iterable],
        cost: Cost,
        *,
        backend: Stateful | None = None,
        precision: Stateful | None = None,
        average: SparseAverage | None = None,
        best: BestEpoch | None = None,
        epochs: int,
        total_steps: int,
        processes: Processes = SINGLE_PROCESS,
        bar: bool = False,
        label: str = "",
        after_step: Callable[[], None] = lambda: None,
        after_epoch: Callable[[], None] = lambda: None,
    ):
        self.step, self.cost, self.average, self.best = step, cost, average, best
        self.batches, self.schedule, self.eval_batches = batches, schedule, eval_batches
        self.epochs, self.total_steps, self.processes = epochs, total_steps, processes
        self.bar, self.label = bar, label
        self.after_step, self.after_epoch = after_step, after_epoch
        self.progress, self.stopwatch = Progress(), Stopwatch()
        self.explored = Explored(step.method.masks)
        self.history = History(step)
        self.components: dict[str, Stateful] = {
            "net": step.net,
            "optimizer": step.method.optimizer,
            "method": step.method,
            "cost": cost,
            "step": step,
            "progress": self.progress,
            "stopwatch": self.stopwatch,
            "explored": self.explored,
            "history": self.history,
            "random": RandomState(),
        }
        optional = {"backend": backend, "precision": precision, "average": average, "best": best}
        self.components |= {name: component for name, component in optional.items() if component is not None}

    def state_dict(self) -> dict[str, dict]:
        """Component -> its state."""
        return {name: component.state_dict() for name, component in self.components.items()}

    def load_state_dict(self, states: Mapping[str, dict]) -> None:
        """Put every component into its saved state. Raises KeyError and others for a state of something else."""
        for name, component in self.components.items():
            component.load_state_dict(states[name])

    def train(self) -> None:
        """Raises Diverged at the end of an epoch whose mean loss is not finite; `progress.rows` ends with it."""
        progress = self.progress
        shown = {
            "initial": progress.step,
            "total": self.total_steps,
            "desc": self.label,
            "unit": "step",
            "leave": False,
        }
        with tqdm(disable=not self.bar, **shown) as watch:
            self.step.net.train()
            # An epoch whose last step was taken, but whose row is missing, is still to be evaluated.
            while progress.epoch < self.epochs and (progress.epoch_step or progress.step < self.total_steps):
                self._steps(watch)
                self._evaluate()
                self.after_epoch()
                if not math.isfinite(progress.rows[-1]["train_loss"]):
                    loss = progress.rows[-1]["train_loss"]
                    raise Diverged(f"the training loss is {loss} in epoch {progress.epoch}")

    def _steps(self, watch: tqdm) -> None:
        """What is left of the steps of the epoch."""
        step, method, progress = self.step, self.step.method, self.progress
        begun = shown = time.perf_counter() - progress.epoch_seconds
        if not progress.epoch_step:
            step.reset_totals()
        todo = self.batches.epoch(progress.epoch, start=progress.epoch_step) if progress.step < self.total_steps else ()
        for x, y in todo:
            update, dense_backward = method.should_update(), method.dense_backward
            step(x, y, self.schedule(method.schedule_progress(progress.step)))
            if self.average is not None:
                self.average.update_parameters(step.net)
            self.cost.step(dense_backward, method.extra_backwards)
            if update or not progress.step:
                self.explored.note()
            if update and method.counts_move:
                self.cost.refresh()
            progress.step += 1
            progress.epoch_step += 1
            progress.epoch_samples += len(y)
            progress.epoch_seconds = time.perf_counter() - begun
            watch.update()
            self.after_step()
            if self.bar and time.perf_counter() - shown > 0.5:
                shown = time.perf_counter()
                self._show(watch)
            if progress.step >= self.total_steps:
                break
        progress.epoch_seconds = time.perf_counter() - begun

    def _show(self, watch: tqdm) -> None:
        progress = self.progress
        loss, correct = self.step.totals().tolist()
        watch.set_postfix(
            epoch=progress.epoch + 1,
            loss=f"{loss / progress.epoch_step:.3f}",
            acc=f"{correct / progress.epoch_samples:.3f}",
            sparsity=f"{self.step.method.masks.sparsity_weights():.3f}",
            samples_s=f"{progress.epoch_samples / progress.epoch_seconds:.0f}",
        )

    def _evaluate(self) -> None:
        """End the epoch: its row of metrics."""
        step, progress, processes = self.step, self.progress, self.processes
        loss, correct = (processes.all_reduce(step.totals().clone()) / processes.size).tolist()
        seconds = progress.epoch_seconds
        net = step.net if self.average is None else self.average.module
        processes.same_buffers(net)
        eval_loss, eval_accuracy = evaluate(net, self.eval_batches(), processes)
        progress.rows.append(
            {
                "epoch": progress.epoch + 1,
                "step": progress.step,
                "lr": float(step.method.optimizer.param_groups[0]["lr"]),
                "train_loss": loss / progress.epoch_step,
                "train_accuracy": correct / progress.epoch_samples,
                "eval_loss": eval_loss,
                "eval_accuracy": eval_accuracy,
                "sparsity_weights": step.method.masks.sparsity_weights(),
                "hoyer_sparsity": step.method.masks.mean_hoyer_sparsity(),
                "explored": self.explored.share(),
                "seconds": round(seconds, 4),
                "samples_per_second": round(progress.epoch_samples * processes.size / seconds, 1),
            }
        )
        if self.best is not None:
            self.best.note(progress.rows[-1])
        progress.epoch += 1
        progress.epoch_step = progress.epoch_samples = 0
        progress.epoch_seconds = 0.0
