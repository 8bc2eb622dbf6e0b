"""Deleting and forgetting."""

import json
import shutil

import pytest

from lpss.record import RunFolder
from lpss.runs.cleanup import delete, forget


def reasons(outcomes) -> dict[str, str]:
    return {run.folder.rpartition("/")[2]: reason for run, reason in outcomes}


def test_what_is_deleted_is_gone_and_nothing_else(run_folder, runs, tmp_path):
    gone, kept = run_folder("failed", folder="x/a"), run_folder(folder="x/b")
    (gone / ".run.x1y2.json").touch()
    (gone / "net.onnx").touch()
    assert reasons(delete(run for run in runs() if run.status == "failed")) == {"a": ""}
    assert not gone.exists() and sorted(path.name for path in kept.iterdir()) == [".lock", "config.yaml", "run.json"]


def test_what_trackers_wrote_goes_too_and_what_a_link_leads_to_stays(run_folder, runs, tmp_path):
    folder = run_folder(folder="a")
    (folder / "wandb" / "offline-run" / "files").mkdir(parents=True)
    (folder / "wandb" / "offline-run" / "files" / "x.wandb").write_text("1")
    (folder / "wandb" / "latest-run").symlink_to("offline-run")
    (folder / "tensorboard").symlink_to(tmp_path)
    assert reasons(delete(runs())) == {"a": "it holds what is not the run's: tensorboard"}
    assert [path.name for path in folder.iterdir()] == ["tensorboard"] and tmp_path.is_dir()


def test_what_is_not_the_runs_stays_and_is_named(run_folder, runs):
    folder = run_folder(folder="a")
    (folder / "notes.md").write_text("mine")
    inner = run_folder(folder="a/b")
    outer = [run for run in runs() if run.folder.endswith("/a")]
    assert reasons(delete(outer)) == {"a": "it holds what is not the run's: b, notes.md"}
    assert sorted(path.name for path in folder.iterdir()) == ["b", "notes.md"] and (inner / "run.json").exists()


def test_a_link_is_removed_and_not_what_it_leads_to(run_folder, runs, tmp_path):
    (tmp_path / "weights").write_text("shared")
    (run_folder(folder="a") / "weights.safetensors").symlink_to(tmp_path / "weights")
    assert reasons(delete(runs())) == {"a": ""} and (tmp_path / "weights").exists()


@pytest.mark.parametrize("act", [delete, forget])
def test_a_run_that_is_being_trained_is_left(run_folder, runs, act):
    folder = RunFolder(run_folder("failed", folder="a"))
    listed = runs()
    with folder.lock() as mine:
        assert mine and reasons(act(listed)) == {"a": "it is being trained"}
    assert (folder.path / "run.json").exists()


@pytest.mark.parametrize("act", [delete, forget])
def test_a_run_that_has_changed_since_it_was_listed_is_left(run_folder, runs, act):
    paths = [run_folder("failed", folder=name) for name in "abc"]
    run_folder("failed", folder="d")
    listed = runs()
    record = json.loads((paths[0] / "run.json").read_text())
    RunFolder(paths[0]).write_result(record | {"status": "finished"})
    RunFolder(paths[1]).set_aside()
    shutil.rmtree(paths[2])
    changed = "it has changed since it was listed"
    assert reasons(act(listed)) == {"a": changed, "b": changed, "c": "it is gone", "d": ""}
    assert (paths[0] / "run.json").exists() and (paths[1] / "run.previous.json").exists() and not paths[2].exists()


def test_interrupted_runs_can_be_deleted_until_they_end(run_folder, runs):
    one, other = run_folder(None, folder="seed0-00000000000a"), run_folder(None, folder="seed0-00000000000b")
    listed = runs()
    shutil.copy(run_folder(folder="c") / "run.json", other)
    assert list(reasons(delete(listed)).values()) == ["", "it has changed since it was listed"]
    assert not one.exists() and other.exists()


def test_one_that_cannot_be_deleted_does_not_stop_the_others(run_folder, runs, monkeypatch):
    for name in "abc":
        run_folder(folder=name)
    listed, whole = runs(), type(run_folder(folder="d")).unlink

    def unlink(path, missing_ok=False):
        if path.parent.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        whole(path, missing_ok)

    monkeypatch.setattr(type(run_folder(folder="e")), "unlink", unlink)
    found = reasons(delete(listed))
    assert (found["a"], found["c"]) == ("", "") and "Permission denied" in found["b"]
    assert [run.folder[-1] for run in runs()] == ["b", "d", "e"]


def test_a_forgotten_run_is_one_that_has_not_ended(run_folder, runs):
    folder = run_folder("diverged", folder="seed0-00000000000a", accuracy_last=0.1)
    (folder / "checkpoint.pt").touch()
    record = (folder / "run.json").read_bytes()
    assert reasons(forget(runs())) == {"seed0-00000000000a": ""}
    assert [run.status for run in runs()] == ["interrupted"] and RunFolder(folder).result() is None
    assert (folder / "run.previous.json").read_bytes() == record and (folder / "checkpoint.pt").exists()


def test_forgetting_a_failure_keeps_the_record_of_an_earlier_end(run_folder, runs):
    folder = run_folder("failed", folder="seed0-00000000000a")
    (folder / "run.previous.json").write_text('{"status": "finished"}')
    assert reasons(forget(runs())) == {"seed0-00000000000a": ""}
    assert not (folder / "run.json").exists()
    assert (folder / "run.previous.json").read_text() == '{"status": "finished"}'
