"""What runs take on the disk."""

import shutil

from lpss.runs.disk import disk


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_bytes_by_what_was_run_by_kind_and_what_could_be_freed(run_folder, runs):
    for status, method, size in (
        ("finished", "set", 10**6),
        ("failed", "lpss", 3 * 10**6),
        ("finished", "lpss", 10**6),
    ):
        (run_folder(status, method=method, experiment="e") / "weights.safetensors").write_bytes(b"0" * size)
    (run_folder(None) / "checkpoint.pt").write_bytes(b"0" * 10**5)
    found = rows(disk(runs()))
    assert found[:5] == [
        ["experiment", "dataset", "method", "runs", "bytes"],
        ["e", "digits", "lpss", "2", "4.0", "MB"],
        ["e", "digits", "set", "1", "1.0", "MB"],
        ["-", "digits", "set", "1", "100", "kB"],
        ["all", "4", "5.1", "MB"],
    ]
    assert ["weights", "3", "5.0", "MB"] in found and ["checkpoints", "1", "100", "kB"] in found
    assert found[-2:] == [["failed", "1", "3.0", "MB"], ["interrupted", "1", "100", "kB"]]


def test_without_unfinished_runs_nothing_could_be_freed(run_folder, runs):
    run_folder()
    assert "freed" not in disk(runs())


def test_a_run_that_is_gone_by_now_is_named(run_folder, runs, caplog):
    folder = run_folder()
    listed = runs()
    shutil.rmtree(folder)
    assert rows(disk(listed))[1][-2:] == ["0", "B"] and f"skipped {folder}: No such file" in caplog.text


def test_no_runs():
    assert rows(disk([]))[1:2] == [["all", "0", "0", "B"]]
