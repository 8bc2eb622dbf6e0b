"""Tables of one's own in csv and parquet files: reading, splitting, labels, errors."""

import gzip

import pandas as pd
import pytest
import torch

from lpss.data import load
from lpss.data.csv_table import CsvConfig
from lpss.data.parquet_table import ParquetTable
from lpss.errors import DataError, LpssError, UsageError

ROWS = [f"{i},{'red' if i % 3 else 'blue'},{'no' if i % 4 else 'yes'}" for i in range(40)]
TEXT = "size,colour,label\n" + "\n".join(ROWS) + "\n"


@pytest.fixture
def table(tmp_path):
    """table(text, name): the path of a file with that text."""

    def write(text=TEXT, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def read(path, target="label", **options):
    return load(CsvConfig("csv", path=path, target=target, **options))


def test_a_table_is_split_class_by_class(table):
    data = read(table())
    assert data.name == "mine.csv" and data.class_names == ("no", "yes") and data.input_shape == (3,)
    assert (len(data.train), len(data.test)) == (32, 8)
    assert torch.bincount(data.test.y).tolist() == [6, 2] and torch.bincount(data.train.y).tolist() == [24, 8]
    assert data.train.x[:, 0].mean().abs() < 1e-6 and data.standardisation is None
    assert "32 training rows of 2 classes (no 24, yes 8); 8 test rows" in data.notes[0]
    assert data.facts["rows"] == {"train": 32, "test": 8} and data.facts["classes"] == {"no": 24, "yes": 8}


def test_the_split_follows_its_options(table):
    path = table()
    first, again, other = (read(path, split_seed=seed).test.x for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(read(path, test=0.5).test) == 20
    assert read(path, stratify=False).test.y.sum() != 2, "drawn from all rows"
    by_colour = read(path, stratify="colour").test.x
    assert by_colour[:, 1:].sum(0).tolist() == [3, 5], "14 blue and 26 red ones, a fifth of each"


def test_a_column_says_which_rows_test(table):
    text = "n,fold,label\n" + "".join(f"{i},{i // 10},{i % 2}\n" for i in range(30))
    data = read(table(text), split_column="fold", test_values=["2"])
    assert (len(data.train), len(data.test)) == (20, 10) and data.input_shape == (1,)
    assert "fold" in data.recipe.left_out and "those whose fold is 2" in data.notes[0]
    with pytest.raises(UsageError, match="dataset.split_column=fold: 0 of 30 rows hold one of test"):
        read(table(text), split_column="fold")


def test_a_second_file_tests(table):
    data = read(table(), test_path=table("label,size,colour,more\nyes,3,green,1\n", "test.csv"))
    assert (len(data.train), len(data.test)) == (40, 1) and data.test.y.tolist() == [1]
    assert data.test.x[0, 1:].tolist() == [0, 0] and "no training row has, in colour" in data.notes[-1]
    with pytest.raises(UsageError, match="only one can say"):
        read(table(), test_path=table(TEXT, "test.csv"), split_column="colour")
    with pytest.raises(DataError, match="test.csv: row 1: no training row has the label 'maybe'"):
        read(table(), test_path=table("label,size,colour\nmaybe,3,red\n", "test.csv"))


def test_levels_are_those_of_the_training_rows_alone(table):
    text = "c,n,fold,label\n" + "a,1,train,x\nb,2,train,y\na,3,train,x\nz,4,test,y\n"
    assert read(table(text), split_column="fold").recipe.columns[0].levels == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("t.tsv", TEXT.replace(",", "\t"), {}),
        ("t.txt", TEXT.replace(",", ";"), {}),
        ("t.csv", TEXT.replace(",", "|"), {}),
        ("t.csv", TEXT.replace(",", " , "), {}),
        ("t.csv", TEXT.replace("\n", "\r\n"), {}),
        ("t.csv", "\ufeff" + TEXT, {}),
        ("t.csv", TEXT.replace("\n", "\n\n"), {}),
        ("t.csv", TEXT.replace(",", "~"), {"separator": "~"}),
        ("t.csv", TEXT.partition("\n")[2], {"header": False, "target": "2"}),
        ("t.csv.gz", gzip.compress(TEXT.encode()), {}),
        ("t.csv", TEXT.replace("red", "rød").encode("latin-1"), {"encoding": "latin-1"}),
        ("t.csv", TEXT.replace("red", '"r,e""d"'), {}),
    ],
)
def test_files_come_in_many_forms(table, name, text, options):
    expected, data = read(table(TEXT, "plain.csv")), read(table(text, name), **options)
    assert torch.equal(data.train.x, expected.train.x) and torch.equal(data.test.y, expected.test.y)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,label\n", "holds no rows"),
        ("a,b,label\n1,2,x\n1,x\n", r"line 3 \(row 2\): 2 columns where the first line has 3"),
        ("a,label\n1,x\n1,2,x\n", r"line 3 \(row 2\): 3 columns where the first line has 2"),
        ("a,,label\n1,2,x\n", "column 2 has no name"),
        ("a,a,label\n1,2,x\n", "column 2 is called 'a', as column 1 is"),
        ("a,label\n1,x\n2,\n", "row 2, column label: '' is no label"),
        ("a,label\n1,x\n2,x\n", "all training rows have the label 'x'"),
        ('a,label\n1,"x\n2,x\n', "cannot be read"),
        (b"a,label\n1,\xff\n", "is not utf-8-sig; say dataset.encoding"),
        (b"\x00\x01\x02", "mine.csv"),
    ],
)
def test_a_bad_file_is_a_line_that_names_it(table, text, message):
    path = table(text)
    with pytest.raises(LpssError, match=message) as caught:
        read(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": None}, "dataset.target is missing; .* has size, colour, label"),
        ({"target": "lable"}, r"dataset.target=lable: there is no such column, did you mean 'label'\?"),
        ({"test": 0}, "dataset.test=0: the share of rows"),
        ({"test": 1.0}, "dataset.test=1.0"),
        ({"split_seed": -1}, "dataset.split_seed=-1"),
        ({"stratify": "color"}, r"dataset.stratify=color: there is no such column, did you mean 'colour'\?"),
        ({"separator": "ab"}, "dataset.separator='ab': must be one character"),
        ({"encoding": "klingon"}, "dataset.encoding=klingon: there is no such encoding"),
        ({"drop": ["siz"]}, r"dataset.drop: there is no column 'siz', did you mean 'size'\?"),
        ({"test_path": "nowhere.csv"}, "dataset.test_path=nowhere.csv: there is no such file"),
    ],
)
def test_a_wrong_option_is_a_line_that_names_it(table, options, message):
    with pytest.raises(UsageError, match=message):
        read(table(), **options)


@pytest.mark.parametrize("path", [None, "nowhere.csv"])
def test_a_path_is_needed(path):
    with pytest.raises(UsageError, match="dataset.path"):
        read(path)


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}"):
        read(str(tmp_path))


@pytest.mark.parametrize("values", [[i / 7 for i in range(60)], list(range(60)), [f"name {i}" for i in range(60)]])
def test_amounts_are_no_classes(table, values):
    text = "a,price\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))
    with pytest.raises(UsageError, match="dataset.target=price: 60 different .* lpss does no regression"):
        read(table(text), target="price")


def test_classes_are_in_order_of_their_size_or_alphabet(table):
    text = "a,label\n" + "".join(f"{i},{i % 12}\n" for i in range(48))
    assert read(table(text)).class_names == tuple(map(str, range(12)))


def test_a_class_of_one_row_is_trained_and_a_title_may_be_given(table):
    data = read(table(TEXT + "1,red,rare\n"), title="Mine")
    assert data.name == "Mine" and data.class_names == ("no", "rare", "yes")
    assert 1 in data.train.y and 1 not in data.test.y


def test_parquet_keeps_its_types(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "n": [1.5, None] * 10,
            "flag": [True, False] * 10,
            "when": pd.to_datetime(["2026-01-01", "2026-02-01"] * 10),
            "label": pd.Categorical(["x", "y"] * 10),
        }
    )
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    data = load(ParquetTable.Config("parquet", path=str(path), target="label"))
    assert data.recipe.features == ["n", "n is missing", "flag=False", "flag=True", "when"]
    assert data.class_names == ("x", "y") and torch.isfinite(data.train.x).all()


def test_a_file_that_is_no_parquet_is_a_line(table):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="mine.csv cannot be read as parquet"):
        load(ParquetTable.Config("parquet", path=table(), target="label"))
