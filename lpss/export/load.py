"""`lpss.load`: a trained net from a run's folder or a file, ready for use."""

import os
import struct
import zipfile
import zlib
from pathlib import Path

import torch

from lpss.engine.inference import compute_sparse
from lpss.errors import DataError, UsageError
from lpss.export import npz_file, run_folder, safetensors_file, torch_file
from lpss.export.contents import Contents
from lpss.export.net import ReadyNet


def load(source: str | os.PathLike, *, sparse: bool = True) -> ReadyNet:
    """The trained net in a run's folder, its weights.safetensors, or a file of lpss-export (safetensors, npz, torch).

        net = lpss.load("outputs/letter-mlp/rigl-s0.9/seed0-0123456789ab")
        logits = net(examples)  # as the data set has them: the net standardises by itself
        net.masks               # layer name -> bool, True where a weight is active

    The net is in eval mode, and its sparse layers compute from their active weights alone, where they can (see
    lpss/engine): `sparse=False` gives a net of plain dense layers, of which logits are bit by bit those of a run that
    was dense. Raises UsageError where there is no such net, DataError for what cannot be read.
    """
    net = read(source).build().to(memory_format=torch.channels_last)  # as runs on a CPU compute
    if sparse:
        compute_sparse(net.model, net.masks)
    return net


def read(source: str | os.PathLike) -> Contents:
    """What is in a run's folder or a file; raises as `load` does."""
    path = Path(source).expanduser()
    if path.name == "run.json":
        path = path.parent
    if path.is_dir():
        return run_folder.read(path)
    if not path.exists():
        raise UsageError(f"{source}: there is no such file or folder")
    return _read_file(path)


def _read_file(path: Path) -> Contents:
    """By what the file is, not by its name."""
    if path.suffix == ".onnx":
        raise UsageError(
            f"{path}: ONNX files are for other programs; load the run's folder, or a file of another format"
        )
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not start:
        raise DataError(f"{path} is empty")
    if start != b"PK\3\4":
        return safetensors_file.read(path) or run_folder.older(path)
    names = _intact(path)
    for ending, reader in ((".npy", npz_file), ("data.pkl", torch_file)):
        if any(name.endswith(ending) for name in names):
            return reader.read(path)
    raise DataError(f"{path} is no net of lpss's, but some other archive")


def _intact(path: Path) -> list[str]:
    """The names in an archive, whose checksums torch would not look at. Raises DataError where one is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            if (wrong := archive.testzip()) is None:
                return archive.namelist()
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, struct.error, zlib.error, zipfile.BadZipFile):
        raise DataError(f"{path} is damaged, or cut off") from None
    raise DataError(f"{path} is damaged: the checksum of {wrong} in it is wrong")
