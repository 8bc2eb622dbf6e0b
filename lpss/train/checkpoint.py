"""Checkpoints: everything a run needs to go on, in one file, written whole or not at all and read without pickle."""

import logging
import pickle
from pathlib import Path

import torch

from lpss.errors import LpssError
from lpss.train.files import write_atomically

log = logging.getLogger(__name__)


def save(path: Path, state: dict) -> None:
    """Write nested dicts and lists of tensors, numbers and strings."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load(path: Path, device: torch.device) -> dict | None:
    """The saved state, or None where there is none or it is damaged (the run then starts afresh).

    Raises LpssError for what is there and no file that may be read.
    """
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (IsADirectoryError, PermissionError) as error:
        raise LpssError(f"{path} cannot be read: {error.strerror}; remove it to start afresh") from None
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, LookupError) as error:
        reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
        log.warning("%s cannot be read (%s): the run starts afresh", path, reason)
        return None
