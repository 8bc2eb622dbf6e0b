"""The seven UCI sets, encoded so that they have the numbers of features in the paper's Table 3."""

import string
from pathlib import Path

import torch
from torch import Tensor

from lpss.data.dataset import DatasetConfig
from lpss.data.sources import DataSource, RandomSplitConfig
from lpss.data.store import File
from lpss.data.table import Table
from lpss.registries import DATASETS

ARCHIVES = "https://archive.ics.uci.edu/static/public"
DIRECT = "https://archive.ics.uci.edu/ml/machine-learning-databases"  # the former addresses, tried second


def uci_file(path: str, size: int, sha256: str, archive: str, direct: str) -> File:
    return File(f"uci/{path}", size, f"sha256:{sha256}", (f"{ARCHIVES}/{archive}", f"{DIRECT}/{direct}"))


class UciSource(DataSource):
    """A text table of the UCI repository."""

    licence = "CC BY 4.0"


@DATASETS.register("adult")
class Adult(UciSource):
    """Census income. One-hot over the training file's levels, `?` all zeros; then six standardised numbers."""

    label = "Adult"
    reference = "https://archive.ics.uci.edu/dataset/2"
    order = 1
    files = (
        uci_file(
            "adult/adult.data",
            3_974_305,
            "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
            "2/adult.zip",
            "adult/adult.data",
        ),
        uci_file(
            "adult/adult.test",
            2_003_153,
            "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
            "2/adult.zip",
            "adult/adult.test",
        ),
    )
    shape, classes, train, test = (105,), 2, 32_561, 16_281
    categorical = (1, 3, 5, 6, 7, 8, 9, 13)
    numbers = (0, 2, 4, 10, 11, 12)
    numeric = slice(99, 105)
    class_names = ("<=50K", ">50K")

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        # The test file opens with a remark and ends its labels with a full stop.
        train, test = (Table.read(path, 15, skip=lambda number, line: line[0] == "|") for path in paths)
        levels = {column: train.levels(column, missing="?") for column in self.categorical}

        def encode(table: Table) -> Tensor:
            hot = [table.one_hot(column, levels[column], missing="?") for column in self.categorical]
            return torch.cat([*hot, table.numbers(self.numbers)], 1)

        y = torch.cat([train.labels(14, self.class_names), test.labels(14, [f"{name}." for name in self.class_names])])
        return torch.cat([encode(train), encode(test)]), y


@DATASETS.register("connect4")
class Connect4(UciSource):
    """Connect-4 positions, 42 squares one-hot over blank, x, o."""

    label = "Connect-4"
    reference = "https://archive.ics.uci.edu/dataset/26"
    order = 2
    Config = RandomSplitConfig
    files = (
        uci_file(
            "connect4/connect-4.data",
            5_968_100,
            "063152e6eadbb424c7ef4645df76e493a43812edd9c992400983da4fa54f8cba",
            "26/connect+4.zip",
            "connect-4/connect-4.data.Z",
        ),
    )
    shape, classes, train, test = (126,), 3, 57_557, 10_000
    class_names = ("draw", "loss", "win")

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        table = Table.read(paths[0], 43)
        x = torch.cat([table.one_hot(square, "bxo") for square in range(42)], 1)
        return x, table.labels(42, self.class_names)


@DATASETS.register("dna")
class Dna(UciSource):
    """Splice junctions, 60 bases one-hot over A, C, G, T; the ambiguous N, D, R, S are all zeros."""

    label = "DNA"
    reference = "https://archive.ics.uci.edu/dataset/69"
    order = 3
    Config = RandomSplitConfig
    files = (
        uci_file(
            "dna/splice.data",
            319_000,
            "ebbae10c85d3c285e2a2489a37e42bc2ee8d91d15005e391a9962fa3389a114f",
            "69/molecular+biology+splice+junction+gene+sequences.zip",
            "molecular-biology/splice-junction-gene-sequences/splice.data",
        ),
    )
    shape, classes, train, test = (240,), 3, 2_590, 600
    class_names = ("EI", "IE", "N")

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        table = Table.read(paths[0], 3)
        bases = table.letters(2, 60)
        x = torch.cat([bases.one_hot(place, "ACGT", missing="NDRS") for place in range(60)], 1)
        return x, table.labels(0, self.class_names)


@DATASETS.register("mushroom")
class Mushroom(UciSource):
    """Edible or poisonous, 22 attributes one-hot over the documented levels, of which 117 occur.

    `?` is a level of its own, the last of stalk-root's.
    """

    label = "Mushroom"
    reference = "https://archive.ics.uci.edu/dataset/73"
    order = 4
    Config = RandomSplitConfig
    files = (
        uci_file(
            "mushroom/agaricus-lepiota.data",
            373_704,
            "e65d082030501a3ebcbcd7c9f7c71aa9d28fdfff463bf4cf4716a3fe13ac360e",
            "73/mushroom.zip",
            "mushroom/agaricus-lepiota.data",
        ),
    )
    shape, classes, train, test = (126,), 2, 6_124, 2_000
    class_names = ("e", "p")
    levels = (
        "bcxfks fgys nbcgrpuewy tf alcyfmnps adfn cwd bn knbhgropuewy et bcuezr? "
        "fyks fyks nbcgopewy nbcgopewy pu nowy not ceflnpsz knbhrouwy acnsvy glmpuwd"
    ).split()

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        table = Table.read(paths[0], 23)
        x = torch.cat([table.one_hot(column, levels) for column, levels in enumerate(self.levels, 1)], 1)
        return x, table.labels(0, self.class_names)


@DATASETS.register("letter")
class Letter(UciSource):
    """Capital letters, 16 standardised integers; file order."""

    label = "Letter"
    reference = "https://archive.ics.uci.edu/dataset/59"
    order = 5
    files = (
        uci_file(
            "letter/letter-recognition.data",
            712_565,
            "2b89f3602cf768d3c8355267d2f13f2417809e101fc2b5ceee10db19a60de6e2",
            "59/letter+recognition.zip",
            "letter-recognition/letter-recognition.data",
        ),
    )
    shape, classes, train, test = (16,), 26, 15_000, 5_000
    class_names = tuple(string.ascii_uppercase)
    numeric = slice(None)

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        table = Table.read(paths[0], 17)
        return table.numbers(range(1, 17)), table.labels(0, self.class_names)


@DATASETS.register("climate")
class Climate(UciSource):
    """Simulation crashes, 18 standardised parameters without study and run number; file order."""

    label = "Climate"
    reference = "https://archive.ics.uci.edu/dataset/252"
    order = 6
    files = (
        uci_file(
            "climate/pop_failures.dat",
            250_119,
            "8a892cbb056072e84749aed7409d6f17c7b4a1c899fc98ce52dc2af8b727ff9c",
            "252/climate+model+simulation+crashes.zip",
            "00252/pop_failures.dat",
        ),
    )
    shape, classes, train, test = (18,), 2, 400, 140
    class_names = ("0", "1")
    numeric = slice(None)

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        table = Table.read(paths[0], 21, separator=None, skip=lambda number, line: number == 1)
        return table.numbers(range(2, 20)), table.labels(20, self.class_names)


@DATASETS.register("web")
class Web(UciSource):
    """Website phishing, 9 attributes one-hot over -1, 0, 1; file order."""

    label = "Web"
    reference = "https://archive.ics.uci.edu/dataset/379"
    order = 7
    files = (
        uci_file(
            "web/PhishingData.arff",
            33_671,
            "d5a4f1f240a79b2f343ef550d37bce99b2789a8ef1529bfdcfa9ac569e177421",
            "379/website+phishing.zip",
            "00379/PhishingData.arff",
        ),
    )
    shape, classes, train, test = (27,), 3, 1_153, 200
    levels = class_names = ("-1", "0", "1")

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        table = Table.read(paths[0], 10, skip=lambda number, line: line[0] == "@")
        return torch.cat([table.one_hot(c, self.levels) for c in range(9)], 1), table.labels(9, self.class_names)
