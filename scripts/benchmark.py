"""What the benchmark scripts share: composing a run's config, and the file a benchmark leaves."""

import json
import os
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from lpss.cli.train import config_path
from lpss.config import RunConfig, plain_config
from lpss.train.environment import device_name, git_commit, versions

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def composed(overrides: list[str]) -> RunConfig:
    """The config that lpss-train would run."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
    with initialize_config_dir(config_path(), version_base="1.3"):
        return plain_config(compose("config", overrides))


def write_json(path: Path, device: torch.device, results: dict) -> None:
    """Results with what they depend on: device, cores, versions, commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"device": device_name(device), "cores": CORES, "versions": versions(), "commit": git_commit()}
    path.write_text(json.dumps(about | results, indent=1) + "\n")
