"""Checkpoints: everything a run needs to go on, in one file, written whole or not at all and read without pickle.

The file is what torch.save writes, then the SHA-256 of that: torch's format would let a flipped bit in a weight pass.
"""

import hashlib
import io
import logging
import pickle
from pathlib import Path

import torch

from lpss.errors import LpssError
from lpss.files import write_atomically

log = logging.getLogger(__name__)
DIGEST = 32  # bytes


def save(path: Path, state: dict) -> None:
    """Write nested dicts and lists of tensors, numbers and strings. Raises LpssError where that fails."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def load(path: Path, device: torch.device) -> dict | None:
    """The saved state, or None where there is none or it is damaged (the run then starts afresh).

    Raises LpssError for what is there and no file that may be read.
    """
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
        saved, digest = content[:-DIGEST], content[-DIGEST:]
        if hashlib.sha256(saved).digest() != digest:
            raise ValueError("its checksum is wrong")
        return torch.load(io.BytesIO(saved), map_location=device, weights_only=True)
    except (IsADirectoryError, PermissionError) as error:
        raise LpssError(f"{path} cannot be read: {error.strerror}; remove it to start afresh") from None
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, LookupError) as error:
        reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
        log.warning("%s cannot be read (%s): the run starts afresh", path, reason)
        return None
