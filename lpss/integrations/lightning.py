"""PyTorch Lightning: `Trainer(callbacks=[SparseTraining("rigl", sparsity=0.9)])`.

Lightning's order when it fits, on which this relies: weights of a checkpoint, `on_load_checkpoint`, optimizers,
`on_fit_start`, the optimizers' state, sanity check, training. So the method is attached in `on_fit_start`, from the
checkpoint's masks, before any forward pass; and the optimizer's state is loaded through the method's hooks. An
optimizer such as LpSGDm puts the weights on their spheres when it is made, which changes their last bits: the
checkpoint's are loaded once more then.
"""

import math

from lpss.errors import UsageError
from lpss.integrations.recipe import Recipe
from lpss.sparse.attach import KEY
from lpss.sparse.methods.base import Method

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        raise ImportError('lpss.integrations.lightning needs Lightning: pip install "lpss[lightning]"') from None


class SparseTraining(Callback):
    """Makes every optimizer step of `trainer.fit` a step of a sparse training method.

    Checkpoints hold the masks, as a part of the optimizer's state, and `fit(ckpt_path=...)` goes on from them. The
    sparsity is logged as `sparsity` at the end of every epoch.

    Args:
        method: a registered name such as "rigl" (`lpss-train --list method`), or a class such as `lpss.RigL`.
        sparsity: requested, over maskable weights, in [0, 1).
        total_steps: steps of the optimizer in all of training; None for `trainer.estimated_stepping_batches`.
        optimizer: index of the optimizer whose weights become sparse, where `configure_optimizers` returns several.
        options: further arguments of the method, such as `exclude`, `seed` or `update_every`.

    Raises UsageError for an unknown method; when fitting begins, for wrong options, for several optimizers of which
    none is chosen, for training without a known length, and for a checkpoint without masks.
    """

    def __init__(
        self,
        method: str | type[Method],
        sparsity: float,
        *,
        total_steps: int | None = None,
        optimizer: int | None = None,
        **options,
    ):
        self.recipe = Recipe(method, sparsity, total_steps, options)
        self.optimizer = optimizer
        self.checkpoint: dict | None = None  # that is being loaded

    @property
    def method(self) -> Method | None:
        """The method; None before fitting has begun."""
        return self.recipe.method

    def on_load_checkpoint(self, trainer, pl_module, checkpoint: dict) -> None:
        if trainer.state.fn == "fit":
            self.checkpoint = checkpoint
        elif self.method is not None and self.recipe.net is pl_module:  # which has its weights by now
            saved = self._saved(checkpoint)
            if saved is not None:
                self.recipe.load(saved)

    def on_fit_start(self, trainer, pl_module) -> None:
        checkpoint, self.checkpoint = self.checkpoint, None
        optimizer, saved = self._chosen(trainer.optimizers), None
        if checkpoint is not None:
            saved = self._saved(checkpoint)
            trainer.strategy.load_model_state_dict(checkpoint, strict=pl_module.strict_loading)
        total_steps = self.recipe.total_steps or _total_steps(trainer)
        self.recipe.attach(pl_module, optimizer, total_steps, saved, resumed=checkpoint is not None)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        pl_module.log("sparsity", self.method.masks.sparsity_weights())

    def _saved(self, checkpoint: dict) -> dict | None:
        """What the checkpoint holds of a method."""
        states = checkpoint.get("optimizer_states")
        return self._chosen(states).get(KEY) if states else None

    def _chosen(self, of_each_optimizer: list):
        count, index = len(of_each_optimizer), self.optimizer
        if count == 0:
            raise UsageError("there is no optimizer: sparse training needs one from configure_optimizers")
        if index is None and count > 1:
            raise UsageError(f"there are {count} optimizers: say which one's weights become sparse, as optimizer=0")
        if index is not None and not 0 <= index < count:
            raise UsageError(f"optimizer={index} is none of the {count}: the first is optimizer=0")
        return of_each_optimizer[index or 0]


def _total_steps(trainer) -> int:
    total = trainer.estimated_stepping_batches
    if total < 1 or math.isinf(total):
        raise UsageError(
            "the trainer knows no end of training, from which topology updates are timed: give SparseTraining "
            "total_steps, or Trainer max_steps"
        )
    return int(total)
