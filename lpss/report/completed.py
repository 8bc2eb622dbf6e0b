"""Settings of runs of an earlier version, in the words of this one."""

from dataclasses import fields, is_dataclass

from lpss.config import RunConfig
from lpss.options import with_later
from lpss.registries import REGISTRIES


def completed(config: dict) -> dict:
    """The settings of a run, as in its run.json, with those that came after it, at what it behaved as."""
    config = with_later(RunConfig, config)
    for one in fields(RunConfig):
        values = config.get(one.name)
        schema = _group(one.name, values) if one.name in REGISTRIES else one.type
        if isinstance(values, dict) and is_dataclass(schema):
            config[one.name] = with_later(schema, values)
    return config


def _group(kind: str, values: dict | None) -> type | None:
    """The options of the member that `values` names; None for one that is not there (of a plugin)."""
    name = (values or {}).get("name")
    return REGISTRIES[kind][name].Config if name in REGISTRIES[kind] else None
