"""Files: written so that a reader sees the old content or the new, never half of it; checksums, sizes."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from lpss.errors import LpssError


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk and put it in `path`'s place; folders are made.

    What is there and no ordinary file (/dev/null, a pipe) is written to as it is; a link keeps pointing to its file.
    Raises LpssError that names the file where the disk is full or the folder cannot be written.
    """
    path, temporary = Path(os.path.realpath(path)), None
    try:
        if path.exists() and not path.is_file():
            write(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # The same suffix: writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise LpssError(f"{path} could not be written: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError) as error:  # of save_file and torch.save
        raise LpssError(f"{path} could not be written, is the disk full? {str(error).splitlines()[0]}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system offers it."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """`write_atomically` for a text, in UTF-8 with its line ends as they are."""
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode()))


def checksum(path: Path) -> str:
    """The file's SHA-256 in hex. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


def _sha256(file) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def size_text(count: int) -> str:
    """A number of bytes in a readable unit: 5.7 MB."""
    power = min((len(str(count)) - 1) // 3, 3)
    value = count / 1000**power
    return f"{value:.{1 if power and value < 10 else 0}f} {('B', 'kB', 'MB', 'GB')[power]}"
