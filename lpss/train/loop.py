"""The training loop: batch -> loss -> gradients -> method (topology, optimizer) -> metrics, an epoch at a time.

It knows one method and one optimizer through their `step`; nothing in the batch loop reads the device, unless a
progress bar is watched.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from lpss.sparse.methods import Method
from lpss.train.cost import Cost
from lpss.train.evaluate import evaluate


class Diverged(Exception):
    """The training loss is not finite any more."""


@dataclass
class Progress:
    """How far a run is; with the state dicts of net, optimizer, method and cost all it takes to resume."""

    epoch: int = 0
    step: int = 0
    rows: list[dict] = field(default_factory=list)

    def best(self) -> dict:
        """The metrics row of the best epoch (the first of equals)."""
        return max(self.rows, key=lambda row: row["eval_accuracy"])


def fit(
    net: nn.Module,
    method: Method,
    batches,
    schedule: Callable[[float], float],
    eval_batches: Callable[[], Iterable],
    cost: Cost,
    *,
    epochs: int,
    total_steps: int,
    progress: Progress,
    precision: str = "float32",
    bar: bool = False,
    label: str = "",
    after_epoch: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train until `epochs` or `total_steps` are reached, from where `progress` stands.

    Args:
        batches: `lpss.data.Batches`; `schedule`: training progress in [0, 1] -> factor on every group's learning rate.
        eval_batches: yields (x, y) to evaluate on after every epoch.
        precision: `float32`, or `bfloat16` autocast of forward and loss; weights and optimizer stay float32.
        after_epoch: called when `progress` holds a new row (to save it).

    Raises Diverged at the end of an epoch whose mean loss is not finite; `progress.rows` then ends with that epoch.
    """
    optimizer = method.optimizer
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
    device = next(net.parameters()).device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    watch = tqdm(total=total_steps, initial=progress.step, disable=not bar, desc=label, unit="step", leave=False)
    net.train()
    for epoch in range(progress.epoch, epochs):
        if progress.step >= total_steps:
            break
        start, first_step = time.perf_counter(), progress.step
        loss_sum = torch.zeros((), device=device)
        correct = torch.zeros((), device=device, dtype=torch.long)
        samples = 0
        shown = start
        for x, y in batches.epoch(epoch):
            factor = schedule(progress.step / total_steps)
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            with autocast:
                logits = net(x)
                loss = F.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            due, dense_backward = method.due(), method.dense_backward
            cost.step(dense_backward)
            method.step()
            if due:
                cost.refresh()
            progress.step += 1
            loss_sum += loss.detach()
            correct += (logits.detach().argmax(1) == y).sum()
            samples += len(y)
            watch.update()
            if bar and time.perf_counter() - shown > 0.5:
                shown = time.perf_counter()
                watch.set_postfix(
                    epoch=epoch + 1,
                    loss=f"{loss.item():.3f}",
                    acc=f"{correct.item() / samples:.3f}",
                    sparsity=f"{method.masks.sparsity_weights():.3f}",
                    samples_s=f"{samples / (shown - start):.0f}",
                )
            if progress.step >= total_steps:
                break
        steps = progress.step - first_step
        train_loss, train_correct = torch.stack([loss_sum.double(), correct.double()]).tolist()
        seconds = time.perf_counter() - start
        eval_loss, eval_accuracy = evaluate(net, eval_batches())
        progress.epoch = epoch + 1
        progress.rows.append(
            {
                "epoch": epoch + 1,
                "step": progress.step,
                "lr": optimizer.param_groups[0]["lr"],
                "train_loss": train_loss / steps,
                "train_accuracy": train_correct / samples,
                "eval_loss": eval_loss,
                "eval_accuracy": eval_accuracy,
                "sparsity_weights": method.masks.sparsity_weights(),
                "seconds": round(seconds, 4),
                "samples_per_second": round(samples / seconds, 1),
            }
        )
        after_epoch(progress)
        if not torch.isfinite(torch.tensor(train_loss)):
            watch.close()
            raise Diverged(f"the training loss is {train_loss} in epoch {epoch + 1}")
    watch.close()
