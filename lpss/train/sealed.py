"""safetensors files that say by a checksum whether they still hold what was written."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lpss.errors import DataError
from lpss.files import write_atomically

SEAL = "sha256"  # its key in the file's metadata


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, metadata and the checksum of both. Raises LpssError."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    sealed = {**metadata, SEAL: _digest(tensors, metadata)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, sealed))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of any safetensors file. Raises DataError where it cannot be read, or its seal is broken."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {str(error).splitlines()[0]}") from None
    seal = metadata.pop(SEAL, None)
    if seal is not None and seal != _digest(tensors, metadata):
        raise DataError(f"{path} is damaged: its checksum is wrong")
    return tensors, metadata


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    facts = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()}
    digest = hashlib.sha256(json.dumps([facts, dict(metadata)], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
