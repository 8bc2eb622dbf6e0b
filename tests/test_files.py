"""Atomic writing: completely or not at all; sizes in words."""

import os

import pytest

from lpss.errors import LpssError
from lpss.files import checksum, size_text, write_atomically, write_text


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


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path):
    write_text(os.devnull, "gone")
    assert not os.path.isfile(os.devnull)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    with pytest.raises(LpssError, match="could not be written: Is a directory"):
        write_text(tmp_path, "x")


def test_a_link_keeps_pointing_to_the_file_that_is_replaced(tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"


def test_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert checksum(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (3, "3 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (33_671, "34 kB"),
        (5_977_458, "6.0 MB"),
        (15 * 10**8, "1.5 GB"),
    ],
)
def test_sizes_as_people_write_them(count, text):
    assert size_text(count) == text
