"""Parsed tensors kept as safetensors, so that a set is verified and parsed again only when its files change.

One file per set under <root>/.parsed, or under ~/.cache/lpss-parsed where the root cannot be written. A cache
that cannot be read or written is never an error: the set is parsed again.
"""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def key(root: Path, paths: Sequence[Path], version: int, checksums: Sequence[str]) -> str:
    """Digest of names, sizes and times of the files, their published checksums and the parser's version.

    Tensors are stored only after the files were verified, so if the key matches, they need not be hashed again.
    """
    digest = hashlib.sha256(repr((version, list(checksums))).encode())
    for path in paths:
        name, facts = os.fspath(path).removeprefix(os.fspath(root)), os.stat(path)
        digest.update(os.fsencode(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n"))
    return digest.hexdigest()


def _checksum(tensors: dict[str, Tensor]) -> str:
    return " ".join(str(zlib.crc32(tensors[field].contiguous().numpy())) for field in ("x", "y"))


def _places(root: Path, name: str) -> list[Path]:
    places = [root / ".parsed" / f"{name}.safetensors"]
    if os.path.isabs(home := os.path.expanduser("~")):  # otherwise this user has no home folder
        elsewhere = f"{name}-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]}"
        places.append(Path(home, ".cache", "lpss-parsed", f"{elsewhere}.safetensors"))
    return places


def read(root: Path, name: str, wanted: str) -> dict[str, Tensor] | None:
    """The tensors stored under the key `wanted`, or None where there are none or the file is damaged."""
    for path in _places(root, name):
        try:
            with safe_open(path, framework="pt") as stored:
                facts = stored.metadata() or {}
                if facts.get("key") == wanted:
                    tensors = {field: stored.get_tensor(field) for field in ("x", "y")}
                    if facts.get("checksum") == _checksum(tensors):
                        return tensors
        except (OSError, SafetensorError):
            continue
    return None


def write(root: Path, name: str, key: str, tensors: dict[str, Tensor]) -> None:
    """Store the tensors in the first folder that can be written, completely or not at all."""
    for path in _places(root, name):
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{name}-")
            os.close(handle)
            save_file(tensors, temporary, {"key": key, "checksum": _checksum(tensors)})
            os.replace(temporary, path)
            return
        except (OSError, SafetensorError):
            if temporary:
                Path(temporary).unlink(missing_ok=True)
