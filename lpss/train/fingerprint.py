"""What decides a run's result beside its settings: data, plugins, the weights it begins with, which code runs."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from lpss.data import Dataset
from lpss.files import checksum
from lpss.optim.backends import expected_code_path


def fingerprints(data: Dataset, plugins: Iterable[str], init: Path | None = None) -> dict[str, str]:
    """{"data": of both splits, "plugin <module>": of its source, "init": of the file of weights}, SHA-256 in hex.

    Plugins must have been imported.
    """
    prints = {"data": _of_data(data)} | {f"plugin {name}": _of_module(name) for name in plugins}
    return prints if init is None else prints | {"init": checksum(init)}


def _of_data(data: Dataset) -> str:
    digest = hashlib.sha256(repr((data.classes, data.mean, data.std)).encode())
    for split in (data.train, data.test):
        for tensor in (split.x, split.y):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _of_module(name: str) -> str:
    """Of its file, or of all Python files of a package; of nothing where there is no source."""
    digest, file = hashlib.sha256(), Path(getattr(sys.modules[name], "__file__", None) or "none")
    for source in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
        if source.is_file():
            digest.update(source.read_bytes())
    return digest.hexdigest()


def expected_code_paths(earlier: dict[str, str], device: torch.device) -> dict[str, str]:
    """What a run's code paths, `earlier`, would be now, as far as it can be told without training."""
    ran = earlier.get("optimizer step")
    if ran not in ("C kernel", "Triton", "tensor code"):
        return earlier
    return earlier | {"optimizer step": expected_code_path(device)}
