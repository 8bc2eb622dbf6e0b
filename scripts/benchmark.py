"""What the benchmark scripts share: waiting for a device, and the file a benchmark leaves."""

import json
from pathlib import Path

import torch

from lpss.files import write_text
from lpss.train.environment import device_name, git_commit, usable_cores, versions


def write_json(path: Path, device: torch.device, results: dict) -> None:
    """Results with what they depend on: device, cores, versions, commit."""
    about = {"device": device_name(device), "cores": usable_cores(), "versions": versions(), "commit": git_commit()}
    write_text(path, json.dumps(about | results, indent=1) + "\n")


def wait(device: torch.device) -> None:
    """Return when everything that was launched on a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
