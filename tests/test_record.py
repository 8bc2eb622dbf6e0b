"""The run folder's files."""

import fcntl
import json
import threading

import pytest

from lpss import record
from lpss.errors import LpssError
from lpss.record import RunFolder


def test_the_result_is_valid_json_without_nan_and_ends_the_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    folder.checkpoint.write_bytes(b"")
    assert folder.result() is None
    facts = {"status": "diverged", "accuracy_last": float("nan"), "b": {"c": [float("inf"), 1.5]}, "p": {0.5: 1.2}}
    folder.write_result(facts)
    stored = json.loads((tmp_path / "run.json").read_text(), parse_constant=pytest.fail)
    assert stored == facts | {"accuracy_last": None, "b": {"c": [None, 1.5]}, "p": {"0.5": 1.2}}
    assert folder.result()["b"]["c"] == [None, 1.5] and not folder.checkpoint.exists()


def test_a_half_written_result_counts_as_none(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "fin')
    assert RunFolder(tmp_path).result() is None


def test_asking_whether_a_run_is_locked_leaves_no_trace(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert not folder.is_locked() and not folder.path.exists()
    with folder.lock() as mine:
        assert mine and folder.is_locked()
    assert not folder.is_locked()


def test_who_only_asks_does_not_keep_a_run_from_being_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "PATIENCE", 60)  # so that a busy machine is no matter
    folder = RunFolder(tmp_path)
    with open(tmp_path / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as `is_locked` has it, in the worst moment
        assert not folder.is_locked()
        threading.Timer(0.05, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with folder.lock() as mine:
            assert mine


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LpssError, match="run.json could not be written"):
        RunFolder(tmp_path / "file" / "below").write_result({"status": "finished"})
