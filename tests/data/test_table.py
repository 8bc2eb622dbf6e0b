import pytest
import torch

from lpss.data.table import Table
from lpss.errors import DataError


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, columns=3, **options):
        path = tmp_path / "t.data"
        path.write_bytes(text.encode("latin-1"))
        return Table.read(path, columns, **options)

    return write_and_read


def test_rows_are_stripped_and_numbered_by_line(read):
    table = read("# remark\n a, 1,x \r\n\nb,2,y\n\n", skip=lambda number, line: line[0] == "#")
    assert table.cells.tolist() == [["a", "1", "x"], ["b", "2", "y"]]
    assert table.lines.tolist() == [2, 4]


def test_white_space_separates_where_no_separator_is_given(read):
    assert read("  1   2\t3  \n", separator=None).cells.tolist() == [["1", "2", "3"]]


@pytest.mark.parametrize("line", ["a,1", "a,1,x,9"])
def test_a_missing_or_extra_column_names_file_and_line(read, line):
    with pytest.raises(DataError, match=r"t\.data, line 2: [24] columns where 3 are expected"):
        read(f"a,1,x\n{line}\n")


def test_a_file_without_rows_is_refused(read):
    with pytest.raises(DataError, match="holds no rows"):
        read("\n\n")


def test_one_hot_by_eye(read):
    table = read("a,1,x\nc,1,x\n?,1,x\nb,1,x\n")
    assert table.one_hot(0, "abc", missing="?").tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert table.one_hot(0, "abc", missing="?").dtype == torch.float32
    assert table.levels(0, missing="?") == ["a", "b", "c"]


def test_an_unknown_level_names_file_line_and_column(read):
    table = read("\na,1,x\nq,1,x\n")
    with pytest.raises(DataError, match=r"t\.data, line 3, column 1: 'q' is none of a, b"):
        table.one_hot(0, "ab")


def test_a_stray_byte_is_an_unknown_level(read):
    with pytest.raises(DataError, match="line 1, column 1: 'ÿ' is none of"):
        read("ÿ,1,x\n").labels(0, "ab")


def test_numbers(read):
    table = read("1,-2.5,3e2\n4,5,6\n")
    assert table.numbers((2, 1)).tolist() == [[300, -2.5], [6, 5]]
    assert table.numbers((2, 1)).dtype == torch.float32


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "five", "", "?"])
def test_a_cell_that_is_no_finite_number_is_refused(read, cell):
    with pytest.raises(DataError, match="line 2, column 3: .* is no finite number"):
        read(f"1,2,3\n4,5,{cell}\n7,8,9\n").numbers((0, 2))


def test_letters_of_a_column(read):
    table = read("a,1,AC\nb,2,GT\n").letters(2, 2)
    assert table.cells.tolist() == [["A", "C"], ["G", "T"]]
    with pytest.raises(DataError, match="line 2, column 3: 'GTA' does not have the 2 letters"):
        read("a,1,AC\nb,2,GTA\n").letters(2, 2)


def test_labels(read):
    labels = read("b,1,x\na,1,x\n").labels(0, "ab")
    assert labels.tolist() == [1, 0] and labels.dtype == torch.int64
