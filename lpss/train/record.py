"""The run folder: what a run leaves behind. run.json comes last, so a folder that has one is complete."""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lpss.config import RunConfig
from lpss.errors import DataError, LpssError
from lpss.sparse.methods import Method
from lpss.train.files import write_atomically, write_text

LAYER_COLUMNS = (
    "layer",
    "role",
    "shape",
    "p",
    "weights",
    "active",
    "density_requested",
    "density_reached",
    "sparsity_reached",
    "hoyer_sparsity",
    "empty_neurons",
)


class RunFolder:
    """Paths and writers of one run's folder."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoint = path / "checkpoint.pt"

    def result(self) -> dict | None:
        """run.json's content, or None where the run has not ended. Raises LpssError where it cannot be read."""
        try:
            result = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None
        except OSError as error:
            raise LpssError(f"output: {self.path / 'run.json'} cannot be read: {error.strerror}") from None
        return result if isinstance(result, dict) and {"status", "accuracy_last"} <= result.keys() else None

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether the run is this process's to train; of several that ask, one is told so.

        The system frees the lock when the process ends, however it ends. Raises LpssError where the folder cannot be
        used.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise LpssError(f"output: {self.path} cannot be used: {error.strerror or error}") from None
        try:
            yield True
        finally:
            lock.release()

    def remove_leftovers(self) -> None:
        """Delete what a process that was killed had not finished writing; call it under the lock."""
        for path in self.path.glob(".?*.?*"):
            path.unlink(missing_ok=True)

    def write_config(self, config: RunConfig) -> None:
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(config.to_dict()))

    def write_metrics(self, rows: list[dict]) -> None:
        """metrics.csv: a row an epoch."""
        write_text(self.path / "metrics.csv", pd.DataFrame(rows).to_csv(index=False))

    def write_layers(self, method: Method, p: dict[str, float | None]) -> None:
        """layers.csv: a row a maskable layer."""
        rows = pd.DataFrame(layer_rows(method, p), columns=LAYER_COLUMNS)
        write_text(self.path / "layers.csv", rows.to_csv(index=False))

    def write_weights(self, net: nn.Module, method: Method) -> None:
        """weights.safetensors: the net's state dict as `net.<key>`, masks as `mask.<layer>` (bool)."""
        tensors = {f"net.{key}": value for key, value in net.state_dict().items()}
        tensors |= {f"mask.{name}": mask for name, mask in method.masks.state_dict().items()}
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        write_atomically(self.path / "weights.safetensors", lambda temporary: save_file(tensors, temporary))

    def write_result(self, result: dict) -> None:
        """run.json, last of all; NaN becomes null. Unless the run has failed, its checkpoint has served its purpose."""
        write_text(self.path / "run.json", json.dumps(_without_nan(result), indent=1) + "\n")
        if result["status"] != "failed":
            self.checkpoint.unlink(missing_ok=True)

    def log_handler(self) -> logging.Handler:
        """A handler that appends to run.log. Raises LpssError where it cannot be opened."""
        try:
            handler = logging.FileHandler(self.path / "run.log", encoding="utf-8")
        except OSError as error:
            raise LpssError(f"output: {self.path / 'run.log'} cannot be written: {error.strerror}") from None
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        return handler


def layer_rows(method: Method, p: dict[str, float | None]) -> list[dict]:
    """One dict a maskable layer, with the columns LAYER_COLUMNS; Hoyer's sparsity is the mean over live neurons."""
    active, empty, requested = method.masks.active(), method.masks.empty_neurons(), method.requested_density()
    hoyer = {name: float(neurons.nanmean()) for name, neurons in method.masks.hoyer_sparsity().items()}
    rows = []
    for name, layer in method.masks.layers.items():
        weight = layer.weight.detach()
        density = active[name] / weight.numel()
        rows.append(
            {
                "layer": name,
                "role": layer.role,
                "shape": "x".join(map(str, weight.shape)),
                "p": p.get(name),
                "weights": weight.numel(),
                "active": active[name],
                "density_requested": requested[name],
                "density_reached": density,
                "sparsity_reached": 1 - density,
                "hoyer_sparsity": hoyer.get(name, math.nan),
                "empty_neurons": empty[name],
            }
        )
    return rows


def load_weights(path: Path | str, net: nn.Module) -> dict[str, torch.Tensor]:
    """Load a run's weights.safetensors into `net`; returns the masks (layer name -> bool). Raises DataError."""
    try:
        tensors = load_file(path)
        net.load_state_dict({key[4:]: value for key, value in tensors.items() if key.startswith("net.")})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{path} does not hold this net's weights: {str(error).splitlines()[0]}") from None
    return {key[5:]: value for key, value in tensors.items() if key.startswith("mask.")}


def _without_nan(value):
    if isinstance(value, dict):
        return {str(key): _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
