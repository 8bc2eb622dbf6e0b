"""A run's config from overrides, as lpss-train composes it, without its command line."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException

from lpss.config import RunConfig, plain_config
from lpss.errors import UsageError


def config_path() -> str:
    """The checkout's conf/ where it lies beside the package, else the copy inside the installed package."""
    beside = Path(__file__).resolve().parents[2] / "conf"
    return str(beside) if (beside / "config.yaml").exists() else "pkg://lpss.conf"


def compose_run(overrides: Sequence[str]) -> RunConfig:
    """What `lpss-train` with these overrides would run. Raises UsageError for a wrong one."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
    path = config_path()
    packed = path.startswith("pkg://")
    places = initialize_config_module(path[6:], "1.3") if packed else initialize_config_dir(path, version_base="1.3")
    try:
        with places:
            return plain_config(compose("config", list(overrides)))
    except HydraException as error:
        raise UsageError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from None
