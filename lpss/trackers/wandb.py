"""Weights & Biases: files in the run's folder, for `wandb sync`, or its servers."""

import os
from dataclasses import dataclass
from typing import Optional

from lpss.record import FINISHED
from lpss.registries import TRACKERS
from lpss.trackers.base import Tracker
from lpss.trackers.safely import SECONDS

SETTINGS = {
    "silent": True,
    "console": "off",  # run.log has it all
    # W&B gives up by itself, and says why, before it counts as hanging.
    "init_timeout": SECONDS - 15,
    "finish_timeout": SECONDS - 15,
    "x_transaction_log_flush_interval": 0.1,  # not 15 s, all of which would be lost when the process is killed
}


@TRACKERS.register("wandb")
class WandB(Tracker):
    """Files in RUN/wandb, for wandb sync; with tracker.wandb.mode=online, or WANDB_MODE, at once to its servers."""

    label = "Weights & Biases"
    reference = "https://wandb.ai"
    order = 30
    packages = ("wandb",)

    @dataclass
    class Config:
        project: Optional[str] = None  # noqa: UP045 (OmegaConf reads the annotation)
        entity: Optional[str] = None  # noqa: UP045
        mode: Optional[str] = None  # noqa: UP045

    def start(self, run, id, logged):
        import wandb

        self.wandb_run = wandb.init(
            project=self.config.project or os.environ.get("WANDB_PROJECT", "lpss"),
            entity=self.config.entity,
            mode=self.config.mode or os.environ.get("WANDB_MODE", "offline"),
            dir=run.folder,
            id=id,
            resume="allow",
            reinit="create_new",  # not the one of a program that calls us
            name=run.label,
            group=run.group,
            config=dict(run.config),
            allow_val_change=True,  # a resumed run may be on another device
            # Of those that this version of W&B has.
            settings=wandb.Settings(**{key: SETTINGS[key] for key in SETTINGS if key in wandb.Settings.model_fields}),
        )
        return logged

    def log(self, epoch, metrics):
        self.wandb_run.log(metrics, step=epoch, commit=True)

    def log_result(self, numbers, layers, picture):
        import wandb

        self.wandb_run.summary.update(numbers)
        shown = {"layers": wandb.Table(dataframe=layers)}
        if picture:
            shown["run"] = wandb.Image(picture)
        self.wandb_run.log(shown)

    def close(self, status):
        self.wandb_run.summary["status"] = status
        self.wandb_run.finish(exit_code=0 if status == FINISHED else 1)
