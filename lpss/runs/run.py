"""What is known of one run: its folder, its state, and its fields and settings by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lpss.options import flat
from lpss.record import DIVERGED, FAILED, FIELDS, FINISHED, INTERRUPTED, RUNNING, mapping

STATES = (FINISHED, RUNNING, INTERRUPTED, DIVERGED, FAILED)
STRUCTURED = ("p", "warnings")  # texts that hold JSON, beside the mappings
Cell = float | int | str | None


@dataclass(eq=False)
class Run:
    """A run by its folder, as its path was given, and the cells of its record; None where a field has no value.

    Fields of several values (`config`, `versions`, `warnings`) are JSON in `cells`. `status` is one of `STATES`.
    """

    folder: str
    cells: Mapping[str, Cell]

    @property
    def status(self) -> str:
        return self.cells["status"]

    @property
    def is_over(self) -> bool:
        """Whether its training has come to an end, be it a failure."""
        return self.status in (FINISHED, DIVERGED, FAILED)

    @cached_property
    def record(self) -> dict:
        """The fields as in run.json: those of several values as such."""
        return {name: _as_in_json(name, cell) for name, cell in self.cells.items()}

    @cached_property
    def config(self) -> dict:
        """Its settings; empty where they are not known."""
        return _as_in_json("config", self.cells["config"]) or {}

    def get(self, name: str):
        """A field, a part of one ("versions.torch") or a setting ("train.epochs"), as JSON has it: a number, a text, a
        list or mapping; None where the run has no such."""
        if name == "folder":
            return self.folder
        if name in FIELDS:
            return _as_in_json(name, self.cells[name])
        head, _, rest = name.partition(".")
        if head in FIELDS and FIELDS[head].kind is mapping:
            return _inner(_as_in_json(head, self.cells[head]), rest)
        return _inner(self.config, name)

    def names(self) -> set[str]:
        """All names that `get` knows of this run, those without a value, too."""
        parts = {f"{name}.{part}" for name in FIELDS for part, _ in flat(self.record[name])}
        return {"folder", *FIELDS, *parts, *(name for name, _ in flat(self.config))}


def _inner(values, name: str):
    """The value that a dotted name has in nested mappings, whose own keys may hold dots; None where there is none."""
    if not isinstance(values, Mapping):
        return None
    if name in values:
        return values[name]
    heads = [key for key in values if name.startswith(f"{key}.")]
    return next((found for key in heads if (found := _inner(values[key], name[len(key) + 1 :])) is not None), None)


def _as_in_json(name: str, cell: Cell):
    return json.loads(cell) if cell is not None and (name in STRUCTURED or FIELDS[name].kind is mapping) else cell
