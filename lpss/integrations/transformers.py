"""Hugging Face Trainer: `Trainer(..., callbacks=[SparseTrainingCallback("rigl", sparsity=0.9)])`.

The Trainer's order, on which this relies: weights of a checkpoint, optimizer (wrapped by accelerate), the optimizer's
state, `on_train_begin`, training. A callback is not told which checkpoint it was, but the optimizer has kept what the
checkpoint's optimizer.pt holds of a method: see lpss/sparse/attach.py.
"""

import logging
from pathlib import Path

import torch

from lpss.integrations.recipe import Recipe
from lpss.sparse.attach import KEY, take_saved
from lpss.sparse.methods.base import Method

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError('lpss.integrations.transformers needs transformers: pip install "lpss[transformers]"') from None

log = logging.getLogger(__name__)


class SparseTrainingCallback(TrainerCallback):
    """Makes every optimizer step of `trainer.train` a step of a sparse training method.

    Checkpoints hold the masks, in optimizer.pt, and `train(resume_from_checkpoint=...)` goes on from them. Logs of the
    training loss, `trainer.state.log_history` and what `train` returns hold the sparsity as `sparsity`.

    Args:
        method: a registered name such as "rigl" (`lpss-train --list method`), or a class such as `lpss.RigL`.
        sparsity: requested, over maskable weights, in [0, 1).
        total_steps: steps of the optimizer in all of training; None for as many as the Trainer makes.
        options: further arguments of the method, such as `exclude`, `seed` or `update_every`.

    Raises UsageError for an unknown method; when training begins, for wrong options and a checkpoint without masks.
    """

    def __init__(self, method: str | type[Method], sparsity: float, *, total_steps: int | None = None, **options):
        self.recipe = Recipe(method, sparsity, total_steps, options)

    @property
    def method(self) -> Method | None:
        """The method; None before training has begun."""
        return self.recipe.method

    def on_train_begin(self, args, state, control, *, model, optimizer, **kwargs) -> None:
        self.recipe.attach(model, optimizer, state.max_steps, take_saved(optimizer), resumed=state.global_step > 0)

    def on_log(self, args, state, control, *, logs, **kwargs) -> None:
        if self.method is not None and ("loss" in logs or "train_loss" in logs):
            logs["sparsity"] = state.log_history[-1]["sparsity"] = self.method.masks.sparsity_weights()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if not args.load_best_model_at_end or state.best_model_checkpoint is None:
            return
        file = Path(state.best_model_checkpoint) / "optimizer.pt"  # the net has its weights by now
        if file.exists():
            self.recipe.load(torch.load(file, map_location="cpu", weights_only=True)[KEY])
        else:
            log.warning("%s is missing: the masks are the last step's, not those of the best model", file)
