import base64
import io
import shutil
import subprocess
import tarfile
import zipfile

import pytest

from lpss.data.unpack import lzw, unpack, unpack_tree
from lpss.errors import DataError


def compress(data, widest=16, clear_at=None):
    """A `.Z` stream as Unix compress writes it: codes in groups of eight, padded where the width changes."""
    out, group, width = bytearray([0x1F, 0x9D, 0x80 | widest]), [], 9

    def flush():
        bits = sum(code << (i * width) for i, code in enumerate(group))
        out.extend(bits.to_bytes(width, "little"))
        group.clear()

    def emit(code):
        group.append(code)
        if len(group) == 8:
            flush()

    def fresh():
        return {bytes([i]): i for i in range(256)}, 257

    table, free = fresh()
    word = b""
    for position, byte in enumerate(data):
        longer = word + bytes([byte])
        if longer in table:
            word = longer
            continue
        emit(table[word])
        if free < 1 << widest:
            table[longer] = free
            free += 1
        if free > 1 << width and width < widest:  # the decoder is one entry behind
            if group:
                flush()
            width += 1
        word = bytes([byte])
        if clear_at is not None and position >= clear_at:
            emit(table[word])
            emit(256)
            if group:
                flush()
            table, free = fresh()
            width, word, clear_at = 9, b"", None
    if word:
        emit(table[word])
    if group:
        used = -(-len(group) * width // 8)
        flush()
        del out[len(out) - width + used :]
    return bytes(out)


TEXT = b"".join(b"%d,%d,win\n" % (i * i % 7919, i % 13) for i in range(4000))


@pytest.mark.parametrize("data", [b"", b"a", b"a" * 1000, bytes(range(256)) * 3, TEXT])
@pytest.mark.parametrize("widest", [9, 12, 16])
def test_lzw_gives_back_what_was_compressed(data, widest):
    assert lzw(compress(data, widest), len(data)) == data


def test_lzw_with_a_cleared_table():
    packed = compress(TEXT, clear_at=9_000)
    assert packed != compress(TEXT)
    assert lzw(packed, len(TEXT)) == TEXT


@pytest.mark.skipif(not shutil.which("gzip"), reason="gzip, which reads .Z, is not installed")
@pytest.mark.parametrize("options", [{}, {"widest": 12}, {"clear_at": 9_000}])
def test_the_compressor_of_these_tests_is_right(options):
    done = subprocess.run(["gzip", "-dc"], input=compress(TEXT, **options), capture_output=True, check=True)
    assert done.stdout == TEXT


def test_lzw_of_a_stream_by_ncompress():
    packed = base64.b64decode("H52QVJ4IKfJEipMnVAIOLKiQoEGE")
    assert lzw(packed, 24) == b"TOBEORNOTTOBEORTOBEORNOT"


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x9d", b"PK\x03\x04", b"\x1f\x9d\x91" + b"a" * 9, b"\x1f\x9d\x90\xff\xff\xff"]
)
def test_lzw_refuses_what_is_no_stream(data):
    with pytest.raises(ValueError, match="not a .Z stream|before its definition"):
        lzw(data, 100)


def test_lzw_stops_at_its_limit():
    with pytest.raises(DataError, match="more than 999 bytes"):
        lzw(compress(b"a" * 1000), 999)


MEMBERS = {"adult/a.data": b"one", "b.data": b"two", "Index": b"three"}


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/", b"")
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("elsewhere/linked")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.parametrize(("pack", "name"), [(zipped, "p.zip"), (tarred, "p.tar.gz"), (tarred, "p.tgz")])
def test_wanted_members_are_found_in_any_folder(tmp_path, pack, name):
    out = tmp_path / "out"
    out.mkdir()
    unpack(pack(tmp_path / name, MEMBERS), {"a.data": 3, "b.data": 9, "linked": 999, "absent": 9}, out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {"a.data": b"one", "b.data": b"two"}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_member_that_leads_out_is_written_to_the_folder_alone(tmp_path, pack):
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    packed = pack(tmp_path / ("p.zip" if pack is zipped else "p.tgz"), {"../../a.data": b"evil"})
    unpack(packed, {"a.data": 9}, out)
    assert (out / "a.data").read_bytes() == b"evil" and not (tmp_path / "a.data").exists()


def test_dot_z_members_and_files_are_decoded(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    unpack(zipped(tmp_path / "p.zip", {"c.data.Z": compress(TEXT)}), {"c.data": len(TEXT)}, out)
    assert (out / "c.data").read_bytes() == TEXT
    (tmp_path / "d.data.Z").write_bytes(compress(b"direct"))
    unpack(tmp_path / "d.data.Z", {"d.data": 6}, out)
    assert (out / "d.data").read_bytes() == b"direct"


def test_a_plain_file_is_its_own_member(tmp_path):
    (tmp_path / "e.gz").write_bytes(b"as it is")
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "e.gz", {"e.gz": 8}, tmp_path / "out")
    assert (tmp_path / "out" / "e.gz").read_bytes() == b"as it is"


def test_a_member_above_its_limit_is_refused(tmp_path):
    with pytest.raises(DataError, match="a.data is larger than 2 bytes"):
        unpack(zipped(tmp_path / "p.zip", MEMBERS), {"a.data": 2}, tmp_path)


@pytest.mark.parametrize("name", ["p.zip", "p.tar.gz", "p.data.Z"])
def test_a_damaged_archive_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>busy</html>")
    with pytest.raises(DataError, match=f"{name} is damaged"):
        unpack(tmp_path / name, {"p.data": 99}, tmp_path)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "C:evil"])
def test_a_tree_may_not_lead_out_of_its_folder(tmp_path, name):
    packed = zipped(tmp_path / "p.zip", {"fine": b"x", name: b"evil"})
    with pytest.raises(DataError, match="leads outside the folder"):
        unpack_tree(packed, tmp_path / "out", 99)
    assert not [p for p in tmp_path.rglob("*evil*")]


def test_a_tree(tmp_path):
    packed = zipped(tmp_path / "p.zip", MEMBERS)
    unpack_tree(packed, tmp_path / "out", 11)
    for name, content in MEMBERS.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    with pytest.raises(DataError, match="larger than"):
        unpack_tree(packed, tmp_path / "again", 10)
