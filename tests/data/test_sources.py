"""Loading a data set, here a small one made for the test: files, cache, split, checks."""

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lpss.data import DATASETS, BuiltIn, DatasetConfig, default_root, load
from lpss.data.sources import DataSource, RandomSplitConfig
from lpss.data.store import File
from lpss.data.table import Table
from lpss.errors import DataError, UsageError

TEXT = "".join(f"{i},{i % 2}\n" for i in range(10))


def toy_file(text):
    return File("toy/t.data", len(text), f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


class Toy(DataSource):
    name = "toy"
    shape, classes, train, test = (1,), 2, 8, 2
    files = (toy_file(TEXT),)

    def parse(self, paths, config):
        table = Table.read(paths[0], 2)
        return table.numbers([0]), table.labels(1, "01")


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A registered data set of ten numbered rows, and its root."""
    monkeypatch.setitem(DATASETS, "toy", Toy)
    root = tmp_path / "root"
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "t.data").write_text(TEXT)
    return root


def test_file_order_is_the_default(toy):
    dataset = load("toy", toy)
    assert dataset.train.x.flatten().tolist() == list(range(8)) and dataset.test.x.flatten().tolist() == [
        8,
        9,
    ]
    assert dataset.name == "toy" and dataset.classes == 2 and dataset.input_shape == (1,)


def test_a_table_comes_standardised_or_as_it_is(toy, monkeypatch):
    monkeypatch.setattr(Toy, "numeric", slice(None))
    standardised, plain = load("toy", toy), load("toy", toy, standardised=False)
    assert plain.test.x.tolist() == [[8], [9]] and plain.standardisation == standardised.standardisation
    assert standardised.train.x.mean() == 0 and torch.equal(standardised.test.x, plain.standardisation(plain.test).x)


def test_split_seed_shuffles(toy, monkeypatch):
    monkeypatch.setattr(Toy, "Config", RandomSplitConfig)
    dataset = load(RandomSplitConfig("toy", split_seed=3), toy)
    # RandomState(3).permutation(10), which numpy promises never to change
    assert dataset.train.x.flatten().tolist() == [5, 4, 1, 2, 9, 6, 7, 0]
    assert dataset.train.y.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    with pytest.raises(UsageError, match="dataset.split_seed=-1"):
        load(RandomSplitConfig("toy", split_seed=-1), toy)


def test_a_plain_config_gets_the_options_of_its_source(toy, monkeypatch):
    monkeypatch.setattr(Toy, "Config", RandomSplitConfig)
    assert torch.equal(load(DatasetConfig("toy"), toy).train.x, load(RandomSplitConfig("toy"), toy).train.x)


def test_an_unknown_name_is_explained():
    with pytest.raises(UsageError, match="unknown dataset 'leter', did you mean 'letter'"):
        load("leter")


def test_missing_and_altered_files(toy):
    path = toy / "toy" / "t.data"
    path.write_text(TEXT.replace("9", "8"))
    with pytest.raises(DataError, match="t.data is altered"):
        load("toy", toy)
    path.unlink()
    with pytest.raises(DataError, match="toy: toy/t.data is not in .* was not to be downloaded"):
        load("toy", toy, download=False)


def with_text(monkeypatch, root, text):
    """The set published as `text`: the checks after parsing must catch what a checksum cannot."""
    monkeypatch.setattr(Toy, "files", (toy_file(text),))
    (root / "toy" / "t.data").write_text(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TEXT[: TEXT.index("9,")], r"toy: toy/t.data: 9 rows with 9 labels where 10 are expected"),
        (TEXT + "10,0\n", "11 rows"),
        ("".join(f"{i},{int(i > 7)}\n" for i in range(10)), "no training row of class 1 of 2"),
        (TEXT.replace("3,1", "3,2"), "line 4, column 2: '2' is none of 0, 1"),
    ],
)
def test_content_that_is_not_as_expected(toy, monkeypatch, text, problem):
    with_text(monkeypatch, toy, text)
    with pytest.raises(DataError, match=problem):
        load("toy", toy)


def test_the_second_load_reads_the_cache(toy, monkeypatch):
    first = load("toy", toy)
    monkeypatch.setattr(Toy, "parse", lambda *args: pytest.fail("parsed again"))
    monkeypatch.setattr(Toy, "verify", lambda *args: pytest.fail("verified again"))
    again = load("toy", toy)
    assert torch.equal(again.train.x, first.train.x) and torch.equal(again.test.y, first.test.y)


def test_a_touched_file_is_verified_again(toy):
    load("toy", toy)
    path = toy / "toy" / "t.data"
    facts = path.stat()
    path.write_text(TEXT.replace("9,1", "8,1"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    with pytest.raises(DataError, match="altered"):
        load("toy", toy)


def test_a_new_parser_version_parses_again(toy, monkeypatch):
    load("toy", toy)
    monkeypatch.setattr(Toy, "version", 2)
    monkeypatch.setattr(Toy, "parse", lambda *args: (torch.ones(10, 1), torch.arange(10) % 2))
    assert load("toy", toy).train.x.sum() == 8


@dataclass
class FolderConfig(DatasetConfig):
    folder: str = "a"


def test_a_folder_option_has_a_cache_of_its_own(toy, monkeypatch):
    monkeypatch.setattr(Toy, "Config", FolderConfig)
    y = torch.arange(10) % 2
    letter = lambda config: torch.full((10, 1), float(ord(config.folder[-1])))  # noqa: E731
    monkeypatch.setattr(Toy, "parse", lambda self, paths, config: (letter(config), y))
    for folder in ("a", "deep/b", "a", "deep/b"):
        assert load(FolderConfig("toy", folder=folder), toy).train.x[0] == ord(folder[-1])
    assert len(list((toy / ".parsed").iterdir())) == 2


def test_default_root(monkeypatch, tmp_path):
    assert default_root() == Path.home() / ".cache" / "lpss"
    monkeypatch.setenv("LPSS_DATA", "~/elsewhere")
    assert default_root() == Path.home() / "elsewhere"


def test_every_source_is_complete():
    assert set(DATASETS) == {
        *("adult", "connect4", "dna", "mushroom", "letter", "climate", "web"),
        *("mnist", "fashion_mnist", "cifar10", "tiny_imagenet", "digits", "synthetic"),
        *("csv", "parquet", "npz", "image_folder"),
    }
    for name, source in DATASETS.items():
        assert source.name == name and source().origin and source.licence
        assert issubclass(source.Config, DatasetConfig) and source.Config(name).name == name
        assert OmegaConf.to_object(OmegaConf.structured(source.Config(name))) == source.Config(name)
        for file in source.files:
            assert file.urls and file.size > 0 and file.checksum.split(":")[0] in ("md5", "sha256")


# --- sets of a user's own, which make their rows by themselves ----------------------------------------------------
GOOD_X, GOOD_Y = torch.arange(20.0).view(10, 2), torch.arange(10) % 2
NAN_X = GOOD_X.clone()
NAN_X[6, 1] = math.nan


@pytest.mark.parametrize(
    ("x", "y", "facts", "words"),
    [
        (NAN_X, GOOD_Y, {}, "row 7 holds NaN or infinity (value 2 of 2)"),
        (GOOD_X, GOOD_Y, {"train": 9}, "10 rows with 10 labels where 11 are expected"),
        (GOOD_X, GOOD_Y[:9], {}, "10 rows with 9 labels where 10 are expected"),
        (GOOD_X, GOOD_Y.view(10, 1), {}, "labels of shape (10, 1)"),
        (GOOD_X, GOOD_Y, {"train": 10, "test": 0}, "10 training and 0 test rows: at least one of each is needed"),
        (GOOD_X, GOOD_Y + 1, {}, "labels from 1 to 2 where 0 to 1 are expected (first in row 2)"),
        (GOOD_X, GOOD_Y - 1, {}, "labels from -1 to 0 where 0 to 1 are expected (first in row 1)"),
        (GOOD_X, GOOD_Y.float(), {}, "labels are a tensor of torch.float32 where one of torch.int64 is expected"),
        (GOOD_X.double(), GOOD_Y, {}, "rows are a tensor of torch.float64 where one of torch.float32 or torch.uint8"),
        (GOOD_X.numpy(), GOOD_Y, {}, "rows are a ndarray where one of"),
        (GOOD_X, GOOD_Y, {"shape": (3,)}, "rows of shape (2,) where (3,) is expected"),
        (torch.tensor(1.0), GOOD_Y, {}, "no rows with 10 labels"),
        (torch.zeros(10, 1, 2, 2, dtype=torch.uint8), GOOD_Y, {"shape": (1, 2, 2)}, "need `mean` and `std`"),
    ],
)
def test_rows_of_a_users_own_set_are_checked(monkeypatch, x, y, facts, words):
    class Own(BuiltIn):
        shape, classes, train, test = (2,), 2, 8, 2

        def parse(self, paths, config):
            return x, y

    for name, value in ({"name": "own"} | facts).items():
        setattr(Own, name, value)
    monkeypatch.setitem(DATASETS, "own", Own)
    with pytest.raises(DataError) as error:
        load("own")
    assert words in str(error.value) and "own: " in str(error.value) and "\n" not in str(error.value)


def test_a_sound_set_of_a_users_own_loads(monkeypatch):
    class Own(BuiltIn):
        name, shape, classes, train, test = "own", (2,), 2, 8, 2

        def parse(self, paths, config):
            return GOOD_X, GOOD_Y

    monkeypatch.setitem(DATASETS, "own", Own)
    assert len(load("own").train) == 8


def test_a_built_in_set_need_not_know_its_rows(monkeypatch):
    class Plain(BuiltIn):
        def parse(self, paths, config):
            return torch.arange(20.0)[:, None], torch.arange(20) % 2

    monkeypatch.setitem(DATASETS, "plain", Plain)
    Plain.name = "plain"
    data = load("plain")
    assert data.classes == 2 and data.input_shape == (1,)
    assert torch.bincount(data.train.y).tolist() == [8, 8] and torch.bincount(data.test.y).tolist() == [2, 2]
    assert sorted(torch.cat([data.train.x, data.test.x]).flatten().tolist()) == list(range(20))
    assert all((x % 2 == y).all() for x, y in ((part.x.flatten(), part.y) for part in (data.train, data.test)))
    assert torch.equal(load("plain").test.x, data.test.x)
