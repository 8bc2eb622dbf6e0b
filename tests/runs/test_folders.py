"""Which folders hold runs, and what broken and foreign ones come to."""

import os

import pytest

from lpss.record import RunFolder, described
from lpss.runs.folders import read, scan


def found(root) -> list[str]:
    return sorted(folder for folder, _ in scan(root))


def test_runs_are_found_at_any_depth_and_other_folders_are_not(tmp_path, run_folder):
    run_folder(folder="anywhere/in any.name")
    run_folder(None, folder="seed0-0123456789ab")
    run_folder(None, folder="conf")  # a config.yaml, but a name that no run gets
    run_folder("failed", folder="anywhere/in any.name/below")
    (tmp_path / "outputs/seed1-0123456789ab").mkdir()
    expected = ["anywhere/in any.name", "anywhere/in any.name/below", "seed0-0123456789ab"]
    assert found(tmp_path / "outputs") == expected
    assert found(tmp_path / "outputs/seed0-0123456789ab") == [""]


def test_links_to_folders_are_not_followed(tmp_path, run_folder):
    folder = run_folder(folder="a")
    (folder / "loop").symlink_to(tmp_path / "outputs")
    (tmp_path / "outputs/link").symlink_to(folder)
    assert found(tmp_path / "outputs") == ["a"]
    assert found(tmp_path / "outputs/link") == [""]  # unless one is named


def test_a_folder_that_cannot_be_read_is_named_and_skipped(tmp_path, run_folder, monkeypatch, caplog):
    run_folder(folder="a")
    run_folder(folder="b")
    whole = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(tmp_path / "outputs") == ["a"]
    assert caplog.messages == [f"skipped {tmp_path}/outputs/b: Permission denied"]


def test_a_run_that_has_not_ended_is_described_by_its_config_and_its_name(run_folder):
    folder = run_folder(None, "seed7-0123456789ab", {"train.validation": 0.2}, seed=7, experiment="e", method="lpss")
    cells = read(folder)
    assert (cells["status"], cells["seed"], cells["method"], cells["experiment"]) == (None, 7, "lpss", "e")
    assert (cells["config_hash"], cells["evaluated_on"], cells["accuracy_last"]) == ("0123456789ab", "validation", None)


@pytest.mark.parametrize("text", ["", "{", '{"status": "fin', "[1]", '{"hello": 1}', "\udcff"])
def test_a_broken_record_is_that_of_a_run_that_has_not_ended_as_training_sees_it(run_folder, caplog, text):
    folder = run_folder(folder="seed0-0123456789ab")
    (folder / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    assert read(folder)["status"] is None and RunFolder(folder).result() is None
    assert len(caplog.messages) == 1 and f"{folder}/run.json is no record of a run" in caplog.text


@pytest.mark.parametrize("change", [{"schema": 2}, {"accuracy_last": {"no": "number"}}, {"seed": 2**63}])
def test_what_this_version_cannot_read_is_left_alone(run_folder, caplog, change):
    folder = run_folder(folder="seed0-0123456789ab", **change)
    assert read(folder) is None and len(caplog.messages) == 1 and str(folder) in caplog.text


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "name: x", "dataset: 3", "a: !!python/object:os.system {}"])
def test_a_config_of_something_else_is_no_run(run_folder, caplog, text):
    folder = run_folder(None, "seed0-0123456789ab")
    (folder / "config.yaml").write_text(text)
    assert read(folder) is None and f"skipped {folder}/config.yaml" in caplog.text


def test_a_folder_that_was_just_deleted_is_no_run(tmp_path, caplog):
    assert read(tmp_path / "gone") is None and list(scan(tmp_path / "gone")) == [] and not caplog.messages


def test_numbers_that_are_none_have_no_value(run_folder):
    folder = run_folder(accuracy_last=None, loss_last=float("inf"), accuracy_best=float("nan"), git_commit="")
    cells = read(folder)
    assert {cells[name] for name in ("accuracy_last", "loss_last", "accuracy_best", "git_commit")} == {None}


def test_described_names_the_key_that_is_missing():
    with pytest.raises(KeyError, match="experiment_name"):
        described({})
