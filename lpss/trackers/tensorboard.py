"""TensorBoard: event files in the run's folder."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lpss.registries import TRACKERS
from lpss.report.grid import markdown_table
from lpss.trackers.base import NUMBERS, Tracker


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Event files in RUN/tensorboard: tensorboard --logdir outputs."""

    label = "TensorBoard"
    reference = "https://www.tensorflow.org/tensorboard"
    order = 10
    packages = ("tensorboard",)

    @dataclass
    class Config:
        """No options."""

    def start(self, run, id, logged):
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = run.folder / "tensorboard" / id
        known = logged if folder.is_dir() else 0
        # Whatever lies behind the last epoch that is known to be there is void to readers.
        self.writer = SummaryWriter(folder, purge_step=known + 1)
        self.run, self.epoch = run, known
        columns = {f"result/{name}": 0 for name in NUMBERS}
        *begin, self.session_end = hparams(dict(run.config), columns)
        for summary in begin:
            self.writer.file_writer.add_summary(summary)
        return known

    def log(self, epoch, metrics):
        self.epoch = epoch
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def log_result(self, numbers, layers, picture):
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, self.epoch)
        self.writer.add_text("layers", _markdown(layers, f"{self.run.label}: {self.run.folder}"), self.epoch)
        if picture:
            self.writer.add_image("run", np.asarray(picture), self.epoch, dataformats="HWC")
        self.writer.file_writer.add_summary(self.session_end)

    def close(self, status):
        self.writer.add_text("status", status, self.epoch)
        self.writer.close()


def _markdown(layers: pd.DataFrame, legend: str) -> str:
    cells = layers.map(lambda cell: cell if isinstance(cell, str) else f"{cell:.6g}")
    return markdown_table(list(layers), 3, cells.to_numpy().tolist(), legend, [])
