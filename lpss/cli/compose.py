"""A run's config from overrides, as lpss-train composes it, without its command line."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from lpss.config import RunConfig, plain_config
from lpss.errors import UsageError


def config_path() -> str:
    """The checkout's conf/ where it lies beside the package, else the copy inside the installed package."""
    beside = Path(__file__).resolve().parents[2] / "conf"
    return str(beside) if (beside / "config.yaml").exists() else "pkg://lpss.conf"


def compose_run(overrides: Sequence[str]) -> RunConfig:
    """What `lpss-train` with these overrides would run. Raises UsageError for a wrong one."""
    return plain_config(_composed(overrides))


def compose_sweep(experiment: str) -> list[tuple[str, ...]]:
    """The overrides of every run of `lpss-train -m experiment=...`, from what its file says in hydra.sweeper.params.

    One run where it says nothing. Raises UsageError for an experiment that is not there.
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
    ConfigStore.instance().store(name="schema", node=RunConfig)
    path = config_path()
    packed = path.startswith("pkg://")
    places = initialize_config_module(path[6:], "1.3") if packed else initialize_config_dir(path, version_base="1.3")
    try:
        with places:
            return compose("config", list(overrides), **options)
    except HydraException as error:
        raise UsageError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from None
