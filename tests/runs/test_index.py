"""The index: quick where nothing has changed, and never wrong."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from lpss.record import RunFolder
from lpss.runs import index
from lpss.runs.index import Index


@pytest.fixture
def reads(monkeypatch):
    """The folders that were read, not known."""
    folders, whole = [], index.read

    def read(folder):
        folders.append(folder)
        return whole(folder)

    monkeypatch.setattr(index, "read", read)
    return folders


@pytest.fixture
def file(tmp_path) -> Path:
    """The only index there is."""

    def find():
        (found,) = (tmp_path / "cache/lpss-runs").iterdir()
        return found

    return find


def accuracies(runs) -> dict:
    return {Path(run.folder).name: run.get("accuracy_last") for run in runs}


def test_what_has_not_changed_is_not_read_again(run_folder, runs, reads):
    for seed in range(3):
        run_folder(seed=seed, folder=f"r{seed}", accuracy_last=seed / 10)
    first = runs()
    assert len(reads) == 3
    again = runs()
    assert len(reads) == 3 and [(run.folder, run.cells) for run in again] == [(run.folder, run.cells) for run in first]


def test_new_gone_and_changed_runs_are_seen(run_folder, runs, reads):
    folders = [run_folder(folder=f"r{i}", accuracy_last=0.1) for i in range(4)]
    runs()
    reads.clear()
    shutil.rmtree(folders[0])
    record = json.loads((folders[1] / "run.json").read_text())
    RunFolder(folders[1]).write_result(record | {"accuracy_last": 0.2})
    RunFolder(folders[2]).set_aside()
    run_folder(folder="r4", accuracy_last=0.5)
    assert accuracies(runs()) == {"r1": 0.2, "r3": 0.1, "r4": 0.5}
    assert folders[3] not in reads


def test_a_change_that_size_and_time_do_not_show_is_seen(run_folder, runs):
    file = run_folder(folder="r", accuracy_last=0.1) / "run.json"
    facts = file.stat()
    runs()
    text = file.read_text().replace("0.1", "0.2")
    file.write_text(text)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert accuracies(runs()) == {"r": 0.2}


def test_a_file_that_was_written_a_moment_ago_is_not_relied_on(run_folder, runs, reads, monkeypatch):
    monkeypatch.setattr(index, "YOUNG", 10**12)
    run_folder()
    runs()
    runs()
    assert len(reads) == 2


def test_whether_a_run_is_being_trained_is_asked_every_time(run_folder, runs):
    folder = RunFolder(run_folder("failed"))
    assert [run.status for run in runs()] == ["failed"]
    with folder.lock():
        assert [run.status for run in runs()] == ["running"]
    assert [run.status for run in runs()] == ["failed"]


def test_a_run_goes_through_its_states(run_folder, runs):
    folder = RunFolder(run_folder(None))
    assert [run.status for run in runs()] == ["interrupted"]
    with folder.lock():
        assert [run.status for run in runs()] == ["running"]
        folder.write_result({"schema": 1, "status": "finished", "dataset": "d", "method": "m", "accuracy_last": 1.0})
    assert [(run.status, run.get("dataset")) for run in runs()] == [("finished", "d")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data + b" ",
        lambda data: data.replace(b"0.25", b"0.75"),
        lambda data: data.replace(b"lpss-runs", b"lpss-tuns", 1),
        lambda data: b"\x00\xff" * 100,
        lambda data: data.partition(b"\n")[0] + b"\n[1]",
    ],
)
def test_a_damaged_index_is_as_good_as_none(run_folder, runs, file, reads, damage):
    run_folder(folder="r", accuracy_last=0.25)
    runs()
    whole = file().read_bytes()
    file().write_bytes(damage(whole))
    assert accuracies(runs()) == {"r": 0.25} and len(reads) == 2
    assert file().read_bytes() == whole  # and is mended


def test_an_index_of_another_version_is_not_used(run_folder, runs, reads, monkeypatch):
    run_folder()
    runs()
    monkeypatch.setattr(index, "VERSION", "lpss-runs 9")
    runs()
    assert len(reads) == 2


@pytest.mark.parametrize("cache", ["file/below", "relative", ""])
def test_without_a_place_for_it_all_is_read(run_folder, runs, reads, tmp_path, monkeypatch, cache):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache) if "/" in cache else cache)
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.chdir(tmp_path)
    run_folder()
    assert len(runs()) == len(runs()) == 1 and len(reads) == 2
    assert not (tmp_path / "relative").exists()


def test_nothing_is_written_beside_the_runs(run_folder, runs, tmp_path):
    run_folder()
    before = sorted(tmp_path.joinpath("outputs").rglob("*"))
    runs()
    assert sorted(tmp_path.joinpath("outputs").rglob("*")) == before


def test_few_runs_and_few_changes_are_not_worth_writing_it(run_folder, runs, file, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "FEWEST", 100)
    for i in range(99):
        run_folder(folder=f"r{i}")
    runs()
    assert not (tmp_path / "cache").exists()
    run_folder(folder="r99")
    runs()
    written = file().stat().st_mtime_ns
    run_folder(folder="r100")
    assert len(runs()) == 101 and file().stat().st_mtime_ns == written
    for i in range(101, 110):
        run_folder(folder=f"r{i}")
    assert len(runs()) == 110 and file().stat().st_mtime_ns > written


def test_several_at_once_see_the_same_and_leave_a_whole_index(run_folder, runs, file, tmp_path, reads):
    for i in range(20):
        run_folder(folder=f"r{i}", accuracy_last=i / 100)
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(accuracies(runs()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{f"r{i}": i / 100 for i in range(20)}] * 8
    reads.clear()
    runs()
    assert file().is_file() and not reads


def test_a_moved_folder_is_read_again_and_its_old_place_is_empty(run_folder, tmp_path):
    run_folder(folder="r")
    assert len(Index(tmp_path / "outputs").runs()) == 1
    (tmp_path / "outputs").rename(tmp_path / "elsewhere")
    assert [run.folder for run in Index(tmp_path / "elsewhere").runs()] == [f"{tmp_path}/elsewhere/r"]
    assert Index(tmp_path / "outputs").runs() == []
