"""Unpacks archives member by member: the names and sizes in them are not trusted."""

import errno
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lpss.errors import DataError

MIB = 2**20
LZW_LIMIT = 64 * MIB  # of one packed .Z stream, which is decoded in memory


@contextmanager
def _damage(packed: Path) -> Iterator[None]:
    """Turn the exceptions that a broken archive causes into a DataError."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        struct.error,
        EOFError,
        RuntimeError,
        ValueError,
    ) as error:
        raise DataError(f"{packed.name} is damaged ({error})") from error
    except TypeError as error:  # of tarfile, where a gzip header is cut off
        raise DataError(f"{packed.name} is damaged ({error})") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a full disk, say; the two named are wrong headers and offsets
            raise
        raise DataError(f"{packed.name} is damaged ({error})") from error


def unpack(packed: Path, wanted: Mapping[str, int], folder: Path) -> None:
    """Write the members whose base name (less `.Z`) is in `wanted`, name -> size limit, to folder/name.

    A `packed` that is not a .zip, .tar.gz or .tgz is itself the only member. Raises DataError for a damaged
    archive or a member above its limit; a name that is not found is left to the caller.
    """
    with _damage(packed):
        for member, stream in _members(packed):
            base = PurePosixPath(member).name
            name = base if base in wanted else base.removesuffix(".Z")
            if name not in wanted:
                continue
            target = folder / name
            if name == base:
                copy(stream, target, wanted[name])
            else:
                target.write_bytes(lzw(stream.read(LZW_LIMIT), wanted[name]))


def _members(packed: Path) -> Iterator[tuple[str, BinaryIO]]:
    if packed.suffix == ".zip":
        with zipfile.ZipFile(packed) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    with archive.open(info) as stream:
                        yield info.filename, stream
    elif packed.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(packed, "r|gz") as archive:
            for info in archive:
                if info.isfile():
                    yield info.name, archive.extractfile(info)
    else:
        with open(packed, "rb") as stream:
            yield packed.name, stream


def unpack_tree(packed: Path, folder: Path, limit: int) -> None:
    """Write all members below `folder`, `limit` bytes at most. Raises DataError for a path that leads outside."""
    with _damage(packed):
        for member, stream in _members(packed):
            path = PurePosixPath(member)
            if path.is_absolute() or ".." in path.parts or "\\" in member or ":" in member:
                raise DataError(f"{packed.name}: the member {member!r} leads outside the folder")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            limit -= copy(stream, target, limit)


def copy(stream: BinaryIO, target: Path, limit: int) -> int:
    """Write the stream to `target` and return its length. Raises DataError above `limit` bytes."""
    with open(target, "wb") as out:
        while chunk := stream.read(MIB):
            if out.tell() + len(chunk) > limit:
                raise DataError(f"{target.name} is larger than {limit:,} bytes")
            out.write(chunk)
        return out.tell()


def lzw(data: bytes, limit: int) -> bytes:
    """Decode a `.Z` stream of Unix compress. Raises ValueError for a bad one, DataError above `limit`.

    Codes grow from 9 bits to the header's maximum. They are written in groups of eight: where the width
    changes or the table is cleared, the rest of the group is padding.
    """
    if data[:2] != b"\x1f\x9d" or len(data) < 3 or not 9 <= data[2] & 31 <= 16:
        raise ValueError("not a .Z stream")
    widest, clear = data[2] & 31, (256 if data[2] & 128 else None)
    fresh = [bytes([i]) for i in range(256)] + ([b""] if clear else [])
    table, width, previous, length = fresh.copy(), 9, b"", 0
    out: list[bytes] = []
    start = at = 24  # in bits: where codes of this width began, and where we are
    while at + width <= 8 * len(data):
        first = at >> 3
        code = (int.from_bytes(data[first : first + 4], "little") >> (at & 7)) & ((1 << width) - 1)
        at += width
        widened = width
        if code == clear:
            table, previous, widened = fresh.copy(), b"", 9
        else:
            if code < len(table):
                entry = table[code]
            elif code == len(table) and previous:
                entry = previous + previous[:1]  # the entry that this very code is about to define
            else:
                raise ValueError(f"LZW code {code} before its definition")
            out.append(entry)
            length += len(entry)
            if length > limit:
                raise DataError(f"the .Z stream holds more than {limit:,} bytes")
            if previous and len(table) < 1 << widest:
                table.append(previous + entry[:1])
            previous = entry
            if len(table) >= 1 << width and width < widest:
                widened = width + 1
        if widened != width or code == clear:
            group = 8 * width
            at = start = start + -(-(at - start) // group) * group
            width = widened
    return b"".join(out)
