"""What the benchmark scripts share: writing results as json."""

import json
from pathlib import Path

import torch

from lpss.train.environment import device_name, git_commit, usable_cores, versions


def write_json(path: Path, device: torch.device, results: dict) -> None:
    """Write results with what they depend on: device, cores, versions, commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"device": device_name(device), "cores": usable_cores(), "versions": versions(), "commit": git_commit()}
    path.write_text(json.dumps(about | results, indent=1) + "\n")
