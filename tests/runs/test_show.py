"""One run in full, whatever its folder still holds."""

import pytest

from lpss.record import EPOCH_FIELDS, LAYER_FIELDS, RunFolder
from lpss.runs.show import show


@pytest.fixture
def filled(run_folder):
    """The folder of a failed run with layers, seven epochs and a log of thirty lines."""
    fields = {"error": "RuntimeError: no\nmore", "warnings": ["layer 'fc1' is empty"], "steps": 140}
    path = run_folder("failed", "a", versions={"torch": "2.6.0"}, loss_last=0.30000000000000004, **fields)
    folder = RunFolder(path)
    layer = {"layer": "fc1", "role": "stem", "shape": "8x4", "weights": 32.0, "density_reached": 0.125}
    folder.write_layers([dict.fromkeys(LAYER_FIELDS, 1.0) | layer])
    folder.write_metrics([dict.fromkeys(EPOCH_FIELDS, 0.5) | {"epoch": epoch} for epoch in range(1, 8)])
    (path / "run.log").write_text("".join(f"line {i}\x1b\n" for i in range(30)))
    return path


def test_all_that_is_known(filled, runs):
    (run,) = runs()
    lines = [" ".join(line.split()) for line in show(run).splitlines()]
    assert lines[0] == f"{filled}: failed"
    titles = ["what was run", "result", "where it ran", "time", "settings", "layers", "warnings", "error"]
    assert [line for line in lines if line in titles] == titles
    for line in (
        "method set",
        "loss_last 0.30000000000000004",
        "versions.torch 2.6.0",
        "train.max_steps null",
        "fc1 stem 8x4 1.0 32 1 0.125 1",
        "layer 'fc1' is empty",
        "RuntimeError: no",
        "more",
        r"line 29\x1b",
    ):
        assert line in lines, line
    assert "6 0.5 0.5 0.5 0.5 0.5 0.5" in lines and not any(line.startswith("2 0.5") for line in lines)
    assert r"line 10\x1b" in lines and r"line 9\x1b" not in lines


def test_a_finished_runs_log_is_not_shown(run_folder, runs):
    (run_folder() / "run.log").write_text("line")
    assert "run.log" not in show(runs()[0])


def test_a_run_that_has_not_ended(run_folder, runs):
    (run_folder(None) / "run.log").write_text("resumed")
    text = show(runs()[0])
    assert "interrupted" in text and "resumed" in text and "train.epochs" in text and "layers" not in text


@pytest.mark.parametrize("name", ["layers.csv", "metrics.csv"])
@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe", b"epoch\n" + b"x" * 200_000])
def test_a_broken_file_is_a_line(filled, runs, name, content):
    (filled / name).write_bytes(content)
    text = show(runs()[0])
    assert ("cannot be read: " in text) == (content != b"" or name == "layers.csv") and r"line 29\x1b" in text


def test_a_folder_in_a_files_place_is_a_line(filled, runs):
    (filled / "run.log").unlink()
    (filled / "run.log").mkdir()
    assert "cannot be read: [Errno 21]" in show(runs()[0])
