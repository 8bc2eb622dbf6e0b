"""What the scripts of Table 4 share: its methods and data sets, and lists on the command line."""

from collections.abc import Sequence

import yaml

from lpss import registries
from lpss.cli.compose import config_folder

METHODS = ("dense", "set", "static", "rigl", "snip", "gmp", "lpss")  # of Table 4
CONTROLS = ("rigl_random",)


def methods(text: str) -> list[str]:
    """A comma-separated list of methods; `all`: every one but controls and other readings of one."""
    if text != "all":
        return words(text)
    members = registries.METHODS.members.values()
    return [member.name for member in members if not member.reading_of and member.name not in CONTROLS]


def words(text: str) -> list[str]:
    """A comma-separated list."""
    return [word for word in text.split(",") if word]


def sparsities_of(method: str, sparsities: Sequence) -> Sequence:
    """The sparsities to train a method at: 0 alone for dense."""
    return [0.0] if method == "dense" else sparsities


def datasets_of(table: str) -> list[str]:
    """The names for which experiment=TABLE/NAME exists, in conf/table4.yaml or as a file."""
    settings = yaml.safe_load((config_folder() / "table4.yaml").read_text(encoding="utf-8"))["one_method"]
    files = sorted(path.stem for path in (config_folder() / "experiment" / table).glob("*.yaml"))
    return [*settings.get(table, {}), *files]
