"""TensorBoard's own: what is void after a kill, and a folder that cannot be used."""

import json

import pandas as pd
import pytest

from lpss.train.resolve import resolve
from lpss.train.run import run

pytest.importorskip("tensorboard")
from lpss.trackers.tensorboard import TensorBoard  # noqa: E402


def test_epochs_that_nobody_noted_are_void(tmp_path, shown, told):
    """A kill between the epoch and the note of it."""
    for logged, epochs in ((0, (1, 2, 3)), (2, (3, 4))):
        tracker = TensorBoard(TensorBoard.Config())
        assert tracker.start(told(tmp_path, seed=1), "id", logged) == logged
        for epoch in epochs:
            tracker.log(epoch, {"loss": epoch / 10 + logged})
    tracker.close("finished")
    (one,) = shown("tensorboard", tmp_path / "run").values()
    assert [epoch for epoch, _ in one.points["loss"]] == [1, 2, 3, 4]
    assert [loss for _, loss in one.points["loss"]] == pytest.approx([0.1, 0.2, 2.3, 2.4])


def test_a_folder_that_was_removed_gets_all_epochs_again(tmp_path, told):
    tracker = TensorBoard(TensorBoard.Config())
    assert tracker.start(told(tmp_path), "id", 5) == 0
    tracker.close("interrupted")


def test_a_file_in_its_place_is_a_warning(small, tmp_path):
    config = small("tracker=tensorboard", f"output={tmp_path}")
    folder = resolve(config).folder
    folder.mkdir(parents=True)
    (folder / "tensorboard").write_text("")
    result = run(config)
    (line,) = [line for line in result["warnings"] if "tracker" in line]
    assert result["status"] == "finished" and "tracker=tensorboard is switched off, its start failed" in line
    assert json.loads((folder / "run.json").read_text())["warnings"] == result["warnings"]
    assert len(pd.read_csv(folder / "metrics.csv")) == 3
