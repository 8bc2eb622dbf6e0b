"""The training loop: batch -> step (loss, gradients, method, optimizer) -> metrics, an epoch at a time.

Nothing in the batch loop reads the device, unless a progress bar is watched.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tqdm import tqdm

from lpss.train.cost import Cost
from lpss.train.distributed import SINGLE_PROCESS, Processes
from lpss.train.evaluate import evaluate
from lpss.train.step import TrainStep


class Diverged(Exception):
    """The training loss is not finite any more."""


@dataclass
class Progress:
    """How far a run is; with the state dicts of net, optimizer, method, cost and step all it takes to resume.

    epoch: epochs that are complete; step: steps in all; epoch_step, epoch_seconds: of the epoch that is not complete.
    """

    epoch: int = 0
    step: int = 0
    epoch_step: int = 0
    epoch_seconds: float = 0.0
    rows: list[dict] = field(default_factory=list)

    def best(self) -> dict:
        """The metrics row of the best epoch (the first of equals)."""
        return max(self.rows, key=lambda row: row["eval_accuracy"])


def fit(
    step: TrainStep,
    batches,
    schedule: Callable[[float], float],
    eval_batches: Callable[[], Iterable],
    cost: Cost,
    *,
    epochs: int,
    total_steps: int,
    progress: Progress,
    processes: Processes = SINGLE_PROCESS,
    bar: bool = False,
    label: str = "",
    after_step: Callable[[Progress], None] = lambda progress: None,
    after_epoch: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train until `epochs` or `total_steps` are reached, from where `progress` stands.

    Args:
        batches: `lpss.data.Batches`; `schedule`: training progress in [0, 1] -> factor on every group's learning rate.
        eval_batches: yields (x, y) to evaluate on after every epoch.
        processes: those that share the run; each gives its own part of every batch.
        after_step: called at every step, when a run may be saved and left.
        after_epoch: called when `progress` holds a new row (to save it).

    Raises Diverged at the end of an epoch whose mean loss is not finite; `progress.rows` then ends with that epoch.
    """
    net, method = step.net, step.method
    with tqdm(total=total_steps, initial=progress.step, disable=not bar, desc=label, unit="step", leave=False) as watch:
        net.train()
        for epoch in range(progress.epoch, epochs):
            if progress.step >= total_steps:
                break
            begun = shown = time.perf_counter() - progress.epoch_seconds
            if not progress.epoch_step:
                step.reset_totals()
            for x, y in batches.epoch(epoch, start=progress.epoch_step):
                due, dense_backward = method.should_update(), method.dense_backward
                step(x, y, schedule(progress.step / total_steps))
                cost.step(dense_backward)
                if due:
                    cost.refresh()
                progress.step += 1
                progress.epoch_step += 1
                progress.epoch_seconds = time.perf_counter() - begun
                samples = progress.epoch_step * len(y)
                watch.update()
                after_step(progress)
                if bar and time.perf_counter() - shown > 0.5:
                    shown = time.perf_counter()
                    loss, correct = step.totals().tolist()
                    watch.set_postfix(
                        epoch=epoch + 1,
                        loss=f"{loss / progress.epoch_step:.3f}",
                        acc=f"{correct / samples:.3f}",
                        sparsity=f"{method.masks.sparsity_weights():.3f}",
                        samples_s=f"{samples / progress.epoch_seconds:.0f}",
                    )
                if progress.step >= total_steps:
                    break
            loss, correct = (processes.all_reduce(step.totals().clone()) / processes.size).tolist()
            seconds, steps = time.perf_counter() - begun, progress.epoch_step
            processes.same_buffers(net)
            eval_loss, eval_accuracy = evaluate(net, eval_batches(), processes)
            progress.epoch, progress.epoch_step, progress.epoch_seconds = epoch + 1, 0, 0.0
            progress.rows.append(
                {
                    "epoch": epoch + 1,
                    "step": progress.step,
                    "lr": float(method.optimizer.param_groups[0]["lr"]),
                    "train_loss": loss / steps,
                    "train_accuracy": correct / samples,
                    "eval_loss": eval_loss,
                    "eval_accuracy": eval_accuracy,
                    "sparsity_weights": method.masks.sparsity_weights(),
                    "hoyer_sparsity": method.masks.mean_hoyer_sparsity(),
                    "seconds": round(seconds, 4),
                    "samples_per_second": round(samples * processes.size / seconds, 1),
                }
            )
            after_epoch(progress)
            if not math.isfinite(loss):
                raise Diverged(f"the training loss is {loss / steps} in epoch {epoch + 1}")
