"""From a config to a resolved run: every option written out, nothing that has no effect, a hash and a folder."""

import copy
import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lpss.config import GROUPS, RunConfig, config_hash
from lpss.data import AugmentConfig
from lpss.errors import UsageError
from lpss.models import choose_model
from lpss.registries import REGISTRIES
from lpss.trackers import complete_trackers


@dataclass(frozen=True)
class ResolvedRun:
    """A run as it will be trained. Settings that mean the same have the same `hash`.

    `config` is a copy with every option of every group; it is not to be changed.
    """

    config: RunConfig
    hash: str

    @property
    def folder(self) -> Path:
        """Its folder: output / [experiment /] dataset-model / method-sparsity / seed-hash."""
        config, model = self.config, self.config.model
        sizes = [model[key] for key in ("depth", "width") if model.get(key) is not None]
        parts = [
            config.experiment_name,
            "-".join(map(str, [config.dataset_title, model["name"], *sizes])),
            f"{config.method['name']}-s{config.sparsity:g}",
            f"seed{config.seed}-{self.hash}",
        ]
        return Path(config.output, *(part.replace("/", "_").replace("..", "_") for part in parts if part))

    @property
    def label(self) -> str:
        """What log lines call it."""
        config = self.config
        return f"{config.dataset_title} {config.method['name']} s={config.sparsity:g} seed={config.seed}"


def resolve(config: RunConfig) -> ResolvedRun:
    """The run that a config describes; imports `config.plugins` first. Raises UsageError, naming the key."""
    import_plugins(config.plugins)
    config = copy.deepcopy(config)
    for group in GROUPS:
        values = getattr(config, group)
        if group == "model":  # which may depend on the data set
            values = choose_model(values, config.dataset["model"])
        setattr(config, group, REGISTRIES[group].complete(values))
    config.tracker = complete_trackers(config.tracker)
    AugmentConfig.of(config.dataset["augment"])
    if config.method["name"] == "dense":
        config.sparsity = 0.0
    if config.init is not None and config.sphere.gain == "auto":
        config.sphere.gain = "fixed"
    elif config.init is None and config.sphere.gain == "none":
        config.sphere.gain = "auto"
    groups = {group: REGISTRIES[group].identity(getattr(config, group)) for group in GROUPS}
    return ResolvedRun(config, config_hash(config, groups))


def import_plugins(names: list[str]) -> None:
    """Import modules that register what a config names. Raises UsageError."""
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module may fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise UsageError(f"plugins: module {name!r} cannot be imported from {Path.cwd()}: {reason}") from error
