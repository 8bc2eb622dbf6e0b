"""Where data sets come from: the base class of all sources, and `load`, which finds one by name.

A new data set is a class with `Config`, `files` and `parse`, registered under its name.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from lpss.data import cache, store
from lpss.data.dataset import (
    Dataset,
    DatasetConfig,
    Expected,
    Split,
    Standardisation,
    check_classes,
    validate,
)
from lpss.data.splits import checked_seed, held_out, permutation
from lpss.errors import DataError, UsageError
from lpss.registries import DATASETS


def default_root() -> Path:
    """The folder of all data sets: $LPSS_DATA, else ~/.cache/lpss."""
    return expanded(os.environ.get("LPSS_DATA") or "~/.cache/lpss")


def expanded(root: Path | str) -> Path:
    """A data folder with its ~ replaced. Raises UsageError for an unknown user."""
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{root}: {error} Set data.root or LPSS_DATA to a folder") from None


@dataclass
class RandomSplitConfig(DatasetConfig):
    """A set whose published split is lost: `split_seed` draws one."""

    split_seed: int = 0


@dataclass(frozen=True)
class Status:
    """How a set is on disk: "present", "missing", "altered" or "built in", and its size in bytes."""

    state: str
    size: int = 0
    detail: str = ""


class DataSource:
    """One data set: its files, how they are read and how their rows are split.

    Subclasses set the attributes and write `parse`. Rows come in file order, training files first; the
    first `train` rows train, unless `Config` has a `split_seed`, which shuffles them before.
    """

    name: str  # of its registration
    Config: type[DatasetConfig] = DatasetConfig
    files: tuple[store.File, ...] = ()
    licence = ""
    shape: tuple[int, ...]
    classes: int
    train: int
    test: int
    numeric: slice | None = None  # the columns to standardise with training statistics
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None  # of the labels 0, 1, ...
    version = 1  # of the parser: raise it when cached tensors must be made again

    @property
    def origin(self) -> str:
        """The address that the files come from."""
        return self.files[0].urls[0]

    @property
    def where(self) -> str:
        """The file or folder that error messages name."""
        return self.files[0].path if len(self.files) == 1 else str(Path(self.files[0].path).parent)

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        """All rows x (N, *shape) and labels y (N,) from the files. Raises DataError naming file and line."""
        raise NotImplementedError

    def expected(self, root: Path, config: DatasetConfig) -> Expected:
        return Expected(self.shape, self.classes, self.train, self.test)

    def locate(self, root: Path, config: DatasetConfig, download: bool) -> list[Path]:
        """The source files, downloaded if missing. Raises DataError if that fails."""
        return store.locate(self.name, root, self.files, download)

    def verify(self, paths: list[Path]) -> None:
        """Raises DataError if a file is not the published one."""
        for file, path in zip(self.files, paths, strict=True):
            store.verify(self.name, file, path)

    def status(self, root: Path) -> Status:
        return Status(*store.status(root, self.files))

    def fetch(self, root: Path) -> None:
        """Download missing files and check the others. Raises DataError."""
        self.verify(self.locate(root, self.Config(self.name), download=True))

    def rows(self, root: Path, config: DatasetConfig, download: bool) -> tuple[Tensor, Tensor]:
        """All rows and labels, from the cache where the files have not changed since they were verified."""
        paths = self.locate(root, config, download)
        key = cache.key(root, paths, self.version, [file.checksum for file in self.files])
        place = "-".join([self.name, *Path(getattr(config, "folder", "")).parts])
        cached = cache.read(root, place, key)
        if cached is None:
            self.verify(paths)
            x, y = self.parse(paths, config)
            remedy = f"remove it and run `lpss-data fetch {self.name}`"
            validate(self.name, self.where, x, y, self.expected(root, config), remedy)
            cache.write(root, place, key, {"x": x, "y": y})
            return x, y
        return cached["x"], cached["y"]

    def load(self, root: Path, config: DatasetConfig, download: bool = True, standardised: bool = True) -> Dataset:
        """The data set, checked and split. Raises DataError or UsageError."""
        x, y = self.rows(root, config, download)
        expected = self.expected(root, config)
        if hasattr(config, "split_seed"):
            order = torch.from_numpy(permutation(len(y), checked_seed("split_seed", config.split_seed)))
            x, y = x.index_select(0, order), y.index_select(0, order)
        if x.dtype == torch.uint8 and (self.mean is None or self.std is None):
            raise DataError(
                f"{self.name}: rows of bytes need `mean` and `std`, one number per channel, in units of 0..1"
            )
        train = Split(x[: expected.train], y[: expected.train])
        test = Split(x[expected.train :], y[expected.train :])
        standardisation = None if self.numeric is None else Standardisation.of(train, self.numeric)
        if standardisation is not None and standardised:
            train, test = standardisation(train), standardisation(test)
        facts = {"mean": self.mean, "std": self.std, "standardisation": standardisation}
        return check_classes(Dataset(self.name, train, test, expected.classes, **facts, class_names=self.class_names))


class BuiltIn(DataSource):
    """A set without files: `parse` makes its rows, or takes them from an installed package.

    `shape`, `classes`, `train` and `test` may be left out: then a fifth of the rows of each class test.
    """

    where = "what its parse method returns"
    shape = classes = train = test = None

    def rows(self, root: Path, config: DatasetConfig, download: bool) -> tuple[Tensor, Tensor]:
        x, y = self.parse([], config)
        if self.train is None and y.dim() == 1 and len(x) == len(y) > 0:
            held = torch.from_numpy(held_out(y.numpy(), 0.2, seed=0))
            self.train, self.test = int((~held).sum()), int(held.sum())
            order = torch.cat([(~held).nonzero(), held.nonzero()]).flatten()
            x, y = x[order], y[order]
        self.shape = tuple(x.shape[1:]) if self.shape is None else self.shape
        self.classes = int(y.max()) + 1 if self.classes is None else self.classes
        validate(self.name, self.where, x, y, self.expected(root, config))
        return x, y

    def status(self, root: Path) -> Status:
        return Status("built in")


def load(
    config: DatasetConfig | str, root: Path | str | None = None, download: bool = True, standardised: bool = True
) -> Dataset:
    """Load the data set that `config` (or just a name) asks for, downloading it where it is missing.

    `root` defaults to `default_root()`. Tables come standardised, or, for nets that standardise by themselves
    (`lpss.load`), as they are. Raises UsageError for an unknown name or a wrong option, DataError
    for files that are missing, altered or malformed.
    """
    name = config if isinstance(config, str) else config.name
    source = DATASETS.find(name)()
    if isinstance(config, str):
        config = source.Config(name)
    elif not isinstance(config, source.Config):  # a plain one: the source's own options at their defaults
        config = source.Config(**{f.name: getattr(config, f.name) for f in fields(DatasetConfig)})
    with store.readable(name):
        return source.load(expanded(root) if root else default_root(), config, download, standardised)
