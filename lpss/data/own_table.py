"""Tables of one's own, whatever file they are in: rows to train and test with, and a recipe for new ones."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lpss.data.columns import CATEGORY, MISSING, NUMBER, Reading, Recipe, Wishes, fit, refuse, texts
from lpss.data.dataset import Dataset, Split
from lpss.data.own import Classes, OwnConfig, OwnData, draw, draw_by_class, drawn_from, find, split_facts, split_note
from lpss.errors import UsageError, suggestion

MANY = 20  # classes, from which whole numbers may as well be amounts
SHARE = 0.05  # of the rows: as many different numbers are amounts


@dataclass
class OwnTableConfig(OwnConfig):
    """`target`: the column of labels. `stratify` may name a column, too. `split_column`: a column that says with
    `test_values` which rows test. `numeric`, `categorical`, `drop`: columns that are not to be what they seem;
    `missing`: texts that stand for no value; `max_levels`: of a category, the most frequent."""

    stratify: Any = True
    target: str | None = None
    split_column: str | None = None
    test_values: list[str] = field(default_factory=lambda: ["test"])
    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=lambda: list(MISSING))
    max_levels: int = 64

    @property
    def reading(self) -> Reading:
        """How cells are read."""
        return Reading(tuple(self.missing))

    @property
    def text(self) -> dict[str, Any]:
        """How the cells of a text file are found."""
        return {}


class OwnTable(OwnData):
    """A table whose columns are found out; a subclass reads its file."""

    Config = OwnTableConfig

    def read(self, path: Path, config: OwnTableConfig) -> pd.DataFrame:
        """The rows, numbered from 0, of columns with different names. Raises DataError."""
        raise NotImplementedError

    def load(self, root: Path, config: OwnTableConfig, download: bool = True, standardised: bool = True) -> Dataset:
        """The rows of `dataset.path`, encoded by a recipe of the training rows. Raises DataError or UsageError."""
        path = find("path", config.path, " (and dataset.target=COLUMN)")
        table = self._labelled(path, config)
        if config.test_path:
            if config.split_column:
                raise UsageError("dataset.test_path and dataset.split_column: only one can say which rows test")
            test_path = find("test_path", config.test_path)
            train, test = table, self._labelled(test_path, config)
        else:
            test_path = path
            held = self._held(table, config)
            train, test = table[~held], table[held]
        return _dataset(config, (train, str(path)), (test, str(test_path)))

    def _labelled(self, path: Path, config: OwnTableConfig) -> pd.DataFrame:
        """The rows of a file, with labels as text. Raises DataError for rows without one, and for amounts."""
        table = self.read(path, config)
        target = _column(table, "target", config.target, path)
        cells = config.reading.cells(table[target])
        refuse(str(path), cells, cells.isna(), "is no label")
        _refuse_amounts(cells, config.reading, f"{path}: dataset.target={target}")
        return table.assign(**{target: texts(cells)})

    def _held(self, table: pd.DataFrame, config: OwnTableConfig) -> pd.Series:
        """Which rows test."""
        if config.split_column:
            name = _column(table, "split_column", config.split_column, config.path)
            held = texts(config.reading.cells(table[name])).isin(config.test_values)
            if not 0 < held.sum() < len(held):
                found = f"{held.sum()} of {len(held)} rows hold one of {', '.join(config.test_values)}"
                raise UsageError(f"dataset.split_column={name}: {found} (dataset.test_values): all or none would test")
            return held
        if isinstance(config.stratify, bool):
            held = draw_by_class(config, table[config.target])
        else:
            name = _column(table, "stratify", config.stratify, config.path)
            held = draw(config, texts(config.reading.cells(table[name])))
        return pd.Series(held, index=table.index)


def _column(table: pd.DataFrame, key: str, name: Any, source: Path | str | None) -> str:
    names = [str(column) for column in table.columns]
    if name is None or str(name) not in names:
        asked = f"dataset.{key}={name}: there is no such column" if name is not None else f"dataset.{key} is missing"
        raise UsageError(f"{asked}{suggestion(str(name), names)}; {source} has {', '.join(names[:20])}")
    return str(name)


def _refuse_amounts(cells: pd.Series, reading: Reading, where: str) -> None:
    """Raise UsageError where labels are amounts rather than classes."""
    numbers, different = reading.numbers(cells), cells.nunique()
    if numbers.notna().all():
        amounts = bool((numbers % 1 != 0).any()) or different > max(MANY, SHARE * len(cells))
    else:
        amounts = different > max(MANY, len(cells) / 2)
    if amounts:
        what = "numbers" if numbers.notna().all() else "texts"
        raise UsageError(
            f"{where}: {different} different {what} in {len(cells)} rows are no classes, and lpss does no regression; "
            f"make a column of classes first"
        )


def _dataset(config: OwnTableConfig, train: tuple[pd.DataFrame, str], test: tuple[pd.DataFrame, str]) -> Dataset:
    """Of rows with labels, each with the name of the file they are from."""
    rows, source = train
    classes = Classes.of(rows[config.target], source)
    drop = [*config.drop, *([config.split_column] if config.split_column else [])]
    wishes = Wishes(config.numeric, config.categorical, drop, config.max_levels)
    recipe = replace(fit(rows, config.target, wishes, config.reading, source), text=config.text)
    splits = [
        Split(recipe.encode(part, file), classes.codes(part[config.target], file)) for part, file in (train, test)
    ]
    facts = split_facts(config, len(rows), len(test[0]), drawn_from(config, "the table")) | {
        "classes": dict(classes.counts)
    }
    if config.split_column:
        facts["split"] = f"those whose {config.split_column} is {' or '.join(config.test_values)}"
    return Dataset(
        config.title,
        *splits,
        classes=len(classes.names),
        class_names=classes.names,
        recipe=recipe,
        facts=facts | {"recipe": recipe.to_dict()},
        notes=tuple(_notes(config, recipe, classes, facts, test[0])),
    )


def _notes(config: OwnTableConfig, recipe: Recipe, classes: Classes, facts: dict, test: pd.DataFrame) -> list[str]:
    """What was decided, in lines to print."""
    kinds = [column.kind for column in recipe.columns]
    lines = [
        split_note(config, "rows", classes, facts),
        f"{config.title}: {kinds.count(NUMBER)} columns of numbers and {kinds.count(CATEGORY)} of categories "
        f"-> {len(recipe.features)} inputs; dataset.numeric, .categorical and .drop change that",
    ]
    missing = [column.name for column in recipe.columns if column.indicator]
    if missing:
        lines.append(f"{config.title}: cells are missing in {_some(missing)}: an input says where")
    if recipe.left_out:
        lines.append(f"{config.title}: left out: {_some([f'{name} ({why})' for name, why in recipe.left_out.items()])}")
    if unknown := recipe.unknown(test):
        lines.append(f"{config.title}: test rows hold levels that no training row has, in {_some(list(unknown))}")
    return lines


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
