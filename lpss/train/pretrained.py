"""Trained weights to begin with: `init=` a file, a run's folder, or a folder with the run of the same data and seed."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lpss.config import RunConfig
from lpss.errors import DataError, UsageError, reason
from lpss.record import WEIGHTS
from lpss.train import sealed
from lpss.train.weights import unpack


def find_weights(config: RunConfig) -> Path | None:
    """The file that `config.init` means, or None where it is not set; of several runs that fit, the dense one.

    Raises UsageError where there is no such file, or more than one.
    """
    if config.init is None:
        return None
    path = Path(config.init).expanduser()
    if path.name == "run.json":
        path = path.parent
    if path.is_file():
        return path
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    if not path.is_dir():
        raise UsageError(f"init={config.init}: there is no such file or folder")
    runs = [
        (record.parent / WEIGHTS, run) for record in sorted(path.rglob("run.json")) if (run := _fit(record, config))
    ]
    runs = [(weights, run) for weights, run in runs if weights.is_file()]
    found = [weights for weights, run in runs if len(runs) == 1 or run.get("method") == "dense"]
    wanted = f"data set {config.dataset_title}, model {config.model['name']} and seed {config.seed}"
    if not found:
        raise UsageError(f"init={config.init}: the folder holds no weights of a finished dense run of {wanted}")
    if len(found) > 1:
        folders = ", ".join(str(one.parent) for one in found[:3])
        raise UsageError(f"init={config.init}: {len(found)} dense runs of {wanted}, name one of them: {folders}")
    return found[0]


def _fit(record: Path, config: RunConfig) -> dict | None:
    """The run's record, if the run is finished and of the same data set, model and seed."""
    try:
        run = json.loads(record.read_text(encoding="utf-8"))
        same = run["dataset"] == config.dataset_title and run["config"]["model"] == config.model
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return run if same and run.get("seed") == config.seed and run.get("status") == "finished" else None


def load_pretrained(net: nn.Module, path: Path) -> None:
    """Load the file's weights into the net.

    The file is a run's weights.safetensors, any other .safetensors, or a state dict that torch.save has written (also
    as `state_dict`, `model` or `net` in a checkpoint). Raises DataError for what cannot be read or does not fit.
    """
    tensors = _read(path)
    own = net.state_dict()
    missing, unknown = [sorted(a - b) for a, b in ((own.keys(), tensors.keys()), (tensors.keys(), own.keys()))]
    if missing or unknown:
        which = f"it lacks {', '.join(missing[:3])}" if missing else f"the net has no {', '.join(unknown[:3])}"
        raise DataError(f"init: {path} holds the weights of another net: {which}")
    for name, value in tensors.items():
        if value.shape != own[name].shape:
            shapes = f"{name} is {tuple(value.shape)} there, {tuple(own[name].shape)} here"
            raise DataError(f"init: {path} holds the weights of another net: {shapes}")
    net.load_state_dict(tensors)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            content, facts = sealed.read(path)
            if "masked" in facts:
                raise DataError(f"{path} is compressed; lpss-export {path} --format torch makes a file of it for init")
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except DataError as error:
        raise DataError(f"init: {error}") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"init: {path} cannot be read as weights: {reason(error)}") from None
    for key in ("state_dict", "model", "net"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in content.items()
    ):
        raise DataError(f"init: {path} holds no weights: a mapping from names to tensors is expected")
    state, masks = unpack(content)
    return state if masks else dict(content)  # only a run's own file holds masks
