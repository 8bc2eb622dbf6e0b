"""Atomic writing: whole or not at all."""

import os

import pytest

from lpss.errors import LpssError
from lpss.files import write_atomically, write_text


def test_folders_are_made_and_text_is_written(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "é")
    assert path.read_text(encoding="utf-8") == "é"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_failing_writer_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "b.txt"
    write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(LpssError, match="b.txt could not be written: No space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(LpssError, match="could not be written"):
        write_text(tmp_path / "a" / "b.txt", "x")
