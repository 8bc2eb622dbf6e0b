"""safetensors files with facts about what they hold, and a checksum that says whether they still hold it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lpss.errors import DataError, reason
from lpss.files import write_atomically

KEY = "lpss"  # of the facts, as JSON, in a file's metadata: the only one, as safetensors writes several in any order
SEAL = "sha256"  # among the facts


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts (whatever JSON can hold), sealed. Raises LpssError."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {KEY: json.dumps({**facts, SEAL: _digest(tensors, facts)}, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, facts) of any safetensors file; no facts where `write` has not written it.

    Raises DataError for a file that cannot be read, or that is not as it was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        facts = json.loads(metadata.get(KEY, "{}"))
        seal = facts.pop(SEAL, None)
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {reason(error)}") from None
    if KEY in metadata and seal != _digest(tensors, facts):
        raise DataError(f"{path} is damaged: its checksum is wrong")
    return tensors, facts


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    shapes = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()}
    digest = hashlib.sha256(json.dumps([shapes, facts], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
