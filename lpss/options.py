"""From a mapping (a config group, keyword arguments) to a checked dataclass of options."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lpss.errors import UsageError, suggestion

BEFORE = "before"  # in a field's metadata: see `later`


def later(default, before=dataclasses.MISSING):
    """A dataclass field for a setting that came later than runs whose hash is to stay.

    Those behaved as with the value `before` (the default, where it is not given), which is left out of the hash.
    """
    metadata = {BEFORE: default if before is dataclasses.MISSING else before}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def without_later(config_class: type, values: Mapping) -> dict:
    """`values` of a dataclass without those that runs of before did not have, at what they behaved as."""
    before = _before(config_class)
    return {key: value for key, value in values.items() if not (key in before and value == before[key])}


def with_later(config_class: type, values: Mapping) -> dict:
    """The values of a run, maybe of before, with those that came later, at what it behaved as."""
    return _before(config_class) | dict(values)


def _before(config_class: type) -> dict:
    fields = dataclasses.fields(config_class)
    return {field.name: field.metadata[BEFORE] for field in fields if BEFORE in field.metadata}


def make_options(config_class: type, values: Mapping, where: str):
    """An instance of the dataclass `config_class` with `values` over its defaults, types checked and converted.

    Raises UsageError that names the key as `where.key`, for a key the class does not have or a value of a wrong type.
    """
    hints = get_type_hints(config_class)
    known = [field.name for field in dataclasses.fields(config_class)]
    options = OmegaConf.structured(config_class)
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"unknown key {where}.{key}{suggestion(key, known)}; known: {', '.join(known)}")
        try:
            options[key] = value
            nested = _flat(hints[key]) and any(map(OmegaConf.is_config, options[key] or ()))
        except OmegaConfBaseException as error:
            raise UsageError(f"{where}.{key}={value!r}: {str(error).splitlines()[0]}") from None
        if nested:  # OmegaConf lets it pass
            raise UsageError(f"{where}.{key}={value!r}: must be a list of numbers or names, without lists in it")
    try:
        return OmegaConf.to_object(options)
    except OmegaConfBaseException as error:
        raise UsageError(f"{where}: {str(error).splitlines()[0]}") from None


def _flat(hint) -> bool:
    """Whether a type is a list of plain values (or such a list or None)."""
    if get_origin(hint) is list:
        return set(get_args(hint)) <= {int, float, str, bool}
    return any(map(_flat, get_args(hint)))


def flat(values, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested mappings by their dotted names, those of anything else not at all."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_choice(value: str, key: str, known: Sequence[str]):
    """Raises UsageError, naming the key, for a value that is not one of those known."""
    if value not in known:
        raise UsageError(f"{key} must be one of {', '.join(known)}; got {value!r}")


def check_range(value: float, key: str, low: float, high: float, *, open_low: bool = False, open_high: bool = False):
    """Raises UsageError, naming the key, unless value lies in the interval (NaN never does)."""
    inside = (low < value if open_low else low <= value) and (value < high if open_high else value <= high)
    if not inside:
        interval = f"{'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
        raise UsageError(f"{key} must be in {interval}, got {value}")
