"""A .npz file that NumPy and SciPy read: masked weights as CSR matrices, everything else as plain arrays.

A matrix `name` is in the arrays `name.data`, `name.indices`, `name.indptr` and `name.shape`, as SciPy calls them; of a
weight of more than two dims, whose rows are its neurons, `name.dims` is the shape. `lpss` is JSON: the description of
the net, and the weights that are masked.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpss.errors import DataError, LpssError, reason
from lpss.export.compressed import csr, from_csr
from lpss.export.contents import Contents
from lpss.files import write_atomically
from lpss.train.description import Description

MASK = "mask."


def write(path: Path, contents: Contents) -> None:
    """Raises LpssError."""
    keys = dict(contents.masked())
    facts = {"description": contents.description.to_dict(), "masked": keys}
    arrays = {"lpss": np.array(json.dumps(facts))}
    arrays |= {f"{MASK}{layer}": mask.numpy() for layer, mask in contents.masks.items() if layer not in keys}
    try:
        arrays |= {key: value.numpy() for key, value in contents.state.items() if key not in keys.values()}
        for layer, key in keys.items():
            arrays |= {f"{key}.{part}": value for part, value in _matrix(contents.state[key], contents.masks[layer])}
    except TypeError as error:
        raise LpssError(f"{contents.source}: npz cannot hold it: {error}") from None
    write_atomically(path, lambda temporary: _savez(temporary, arrays))


def _matrix(weight: Tensor, mask: Tensor):
    pointers, indices = csr(mask, torch.int32, torch.int32)
    yield from (("data", weight[mask].numpy()), ("indices", indices.numpy()), ("indptr", pointers.numpy()))
    yield "shape", np.array([len(mask), mask[0].numel()])
    if mask.dim() > 2:
        yield "dims", np.array(mask.shape)


def _savez(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:  # given a name, NumPy would add a suffix to it
        np.savez(file, **arrays)


def read(path: Path) -> Contents:
    """Raises DataError for a file that is damaged or that `write` has not written."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as arrays: {reason(error)}") from None
    if "lpss" not in arrays:
        raise DataError(f"{path} is no net of lpss's: NumPy's, but lpss-export has not written it")
    try:
        facts = json.loads(str(arrays.pop("lpss")))
        description = Description.from_dict(facts["description"])
        state, masks = {}, {}
        for layer, key in facts["masked"].items():
            data, indices, indptr, shape = (
                arrays.pop(f"{key}.{part}") for part in ("data", "indices", "indptr", "shape")
            )
            shape = tuple(arrays.pop(f"{key}.dims", shape).tolist())
            parts = (torch.from_numpy(part) for part in (indptr, indices, data))
            state[key], masks[layer] = from_csr(*parts, shape)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} is not a net as lpss-export writes it: {reason(error)}") from None
    masks |= {name.removeprefix(MASK): tensor for name, tensor in tensors.items() if name.startswith(MASK)}
    state |= {name: tensor for name, tensor in tensors.items() if not name.startswith(MASK)}
    return Contents(state, masks, description, str(path))
