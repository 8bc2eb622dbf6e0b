"""A run's config from overrides, as lpss-train composes it, without its command line."""

import re
from collections.abc import Iterable, Sequence
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


def register_configs(overrides: Iterable[str]) -> None:
    """Register with Hydra what these overrides need and has no file of its own: the schema, and the settings of the
    experiments that they choose in conf/table4.yaml. (All of them would slow down every composition: Hydra copies what
    is registered again and again.)
    """
    ConfigStore.instance().store(name="schema", node=RunConfig)
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == "experiment":
            for name in re.findall(r"[\w/]+", value):
                experiment, _, dataset = (name, "", "") if _settings(name) else name.partition("/")
                known = _settings(experiment)
                for one in [dataset] if dataset in known else known:
                    _register_dataset(experiment, one)


@cache
def _table4() -> dict:
    return yaml.safe_load((config_folder() / "table4.yaml").read_text(encoding="utf-8"))


def _settings(experiment: str) -> dict:
    """Data set -> method -> settings of an experiment in conf/table4.yaml."""
    return _table4()["one_method"].get(experiment, {})


@cache
def _register_dataset(experiment: str, dataset: str) -> None:
    """Register an experiment's settings for a data set, by method."""
    store, names = ConfigStore.instance().store, [experiment]
    if "/" not in experiment:  # experiment=table4/letter says experiment=table4 dataset=letter
        both = {"defaults": [f"/experiment/{experiment}", {"override /dataset": dataset}, "_self_"]}
        store(group=f"experiment/{experiment}", name=dataset, node=both, package="_global_")
        names.append(f"{experiment}/{dataset}")
    for name in names:
        common = _table4()["all_methods"].get(dataset, {})
        store(group=f"hydra/all_methods/{name}", name=dataset, node=common, package="_global_")
        for method, settings in _settings(experiment)[dataset].items():
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
    register_configs(overrides)
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("config", [readable(override) for override in overrides], **options)
    except HydraException as error:
        raise UsageError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from None
