"""Whose files those of a folder are."""

import pytest

from lpss.runs.contents import files_of, size_of


def test_own_files_by_kind_with_the_record_first_and_the_lock_last(run_folder):
    folder = run_folder()
    for name in ("net.npz", ".weights.x1y2.safetensors", "checkpoint.pt", "notes.md", "network.pt", ".hidden"):
        (folder / name).write_bytes(b"12345")
    (folder / "weights.safetensors").mkdir()
    found = [(file.path.name, file.kind) for file in files_of(folder)]
    assert found == [
        ("run.json", "records"),
        ("config.yaml", "records"),
        ("checkpoint.pt", "checkpoints"),
        ("net.npz", "exports"),
        (".weights.x1y2.safetensors", "leftovers"),
        (".lock", "locks"),
    ]
    assert size_of(folder) == 15 + (folder / "run.json").stat().st_size + (folder / "config.yaml").stat().st_size


def test_a_link_counts_as_itself(run_folder, tmp_path):
    (tmp_path / "large").write_bytes(b"0" * 10_000)
    folder = run_folder()
    before = size_of(folder)
    (folder / "weights.safetensors").symlink_to(tmp_path / "large")
    assert before < size_of(folder) < before + 5_000


def test_a_folder_that_is_gone_takes_nothing(tmp_path):
    assert size_of(tmp_path / "gone") == 0
    with pytest.raises(OSError):
        files_of(tmp_path / "gone")
