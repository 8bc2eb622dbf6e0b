"""Parsed tensors kept as safetensors, so that a set is verified and parsed once per change of its files.

One file per set under <root>/.parsed, or under ~/.cache/lpss-parsed where the root cannot be written. A cache
that cannot be read or written is never an error: the set is parsed again.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def key(root: Path, paths: Sequence[Path], version: int, checksums: Sequence[str]) -> str:
    """Digest of names, sizes and times of the files, their published checksums and the parser's version.

    Tensors are stored only after the files were verified, so a match spares hashing them again.
    """
    digest = hashlib.sha256(repr((version, list(checksums))).encode())
    for path in paths:
        name, facts = os.fspath(path).removeprefix(os.fspath(root)), os.stat(path)
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _places(root: Path, name: str) -> tuple[Path, Path]:
    elsewhere = f"{name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"
    fallback = Path("~/.cache/lpss-parsed").expanduser()
    return root / ".parsed" / f"{name}.safetensors", fallback / f"{elsewhere}.safetensors"


def read(root: Path, name: str, wanted: str) -> dict[str, Tensor] | None:
    """The tensors stored under the key `wanted`, or None where there are none or the file is damaged."""
    for path in _places(root, name):
        try:
            with safe_open(path, framework="pt") as stored:
                if (stored.metadata() or {}).get("key") == wanted:
                    return {field: stored.get_tensor(field) for field in ("x", "y")}
        except (OSError, SafetensorError):
            continue
    return None


def write(root: Path, name: str, key: str, tensors: dict[str, Tensor]) -> None:
    """Store the tensors in the first place that can be written, whole or not at all."""
    for path in _places(root, name):
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{name}-")
            os.close(handle)
            save_file(tensors, temporary, {"key": key})
            os.replace(temporary, path)
            return
        except (OSError, SafetensorError):
            if temporary:
                Path(temporary).unlink(missing_ok=True)
