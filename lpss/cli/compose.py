"""A run's config from overrides, as lpss-train composes it, without its command line."""

from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from lpss.cli.overrides import readable
from lpss.config import RunConfig, plain_config
from lpss.errors import UsageError


def config_folder() -> Path:
    """The checkout's conf/ where it lies beside the package, else the copy inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "config.yaml").exists() else package / "conf"


@cache
def register_configs() -> None:
    """Register with Hydra what has no file of its own: the schema, and the settings in conf/table4.yaml."""
    store = ConfigStore.instance().store
    store(name="schema", node=RunConfig)
    table4 = yaml.safe_load((config_folder() / "table4.yaml").read_text(encoding="utf-8"))
    for experiment, datasets in table4["one_method"].items():
        short = "/" not in experiment
        for dataset, methods in datasets.items():
            if short:  # experiment=table4/letter says experiment=table4 dataset=letter
                both = {"defaults": [f"/experiment/{experiment}", {"override /dataset": dataset}, "_self_"]}
                store(group=f"experiment/{experiment}", name=dataset, node=both, package="_global_")
            for name in (experiment, f"{experiment}/{dataset}")[: 1 + short]:
                common = table4["all_methods"].get(dataset, {})
                store(group=f"hydra/all_methods/{name}", name=dataset, node=common, package="_global_")
                for method, settings in methods.items():
                    store(group=f"hydra/one_method/{name}/{dataset}", name=method, node=settings, package="_global_")


def compose_run(overrides: Sequence[str]) -> RunConfig:
    """What `lpss-train` with these overrides would run. Raises UsageError for a wrong one."""
    return plain_config(_composed(overrides))


def compose_sweep(experiment: str) -> list[tuple[str, ...]]:
    """The overrides of every run of `lpss-train -m experiment=...`, from what its file says in hydra.sweeper.params.

    One run if it says nothing. Raises UsageError for an unknown experiment.
    """
    chosen = f"experiment={experiment}"
    params = _composed([chosen], return_hydra_config=True).hydra.sweeper.params or {}
    parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    choices = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [one.input_line]
        for one in parsed
    ]
    return [(chosen, *choice) for choice in product(*choices)]


def _composed(overrides: Sequence[str], **options) -> DictConfig:
    register_configs()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("config", [readable(override) for override in overrides], **options)
    except HydraException as error:
        raise UsageError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from None
