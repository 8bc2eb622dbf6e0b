from dataclasses import replace

import pytest
import torch

from lpss.data.dataset import Dataset, Expected, Split, Standardisation, check_classes, validate
from lpss.errors import DataError


def numbered(counts, name="toy"):
    """Row i holds the number i; class c occurs counts[c] times, in turns."""
    y = torch.tensor([c for turn in range(max(counts)) for c, n in enumerate(counts) if turn < n])
    x = torch.arange(len(y), dtype=torch.float32)[:, None]
    return Dataset(name, Split(x, y), Split(x[:2] - 100, y[:2]), len(counts))


def test_standardisation_is_that_of_the_training_rows_alone():
    train = Split(torch.tensor([[7.0, 0, 5], [7, 4, 5]]), torch.tensor([0, 1]))
    standardisation = Standardisation.of(train, slice(1, 3))
    assert standardisation == Standardisation(mean=(0, 2, 5), std=(1, 2, 1))
    assert standardisation(train).x.tolist() == [[7, -1, 0], [7, 1, 0]]
    test = standardisation(Split(torch.tensor([[7.0, 6, 8]]), torch.tensor([0])))
    assert test.x.tolist() == [[7, 2, 3]], "a constant column is shifted, not divided by 0"
    assert test.x.dtype == torch.float32 and test.y.tolist() == [0]


def test_names_of_other_classes_are_refused():
    with pytest.raises(DataError, match="toy: 3 class_names for 2 classes"):
        check_classes(replace(numbered([2, 2]), class_names=("a", "b", "c")))


def test_input_shape():
    assert numbered([2, 2]).input_shape == (1,)


@pytest.mark.parametrize(
    ("x", "y", "problem"),
    [
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), "3 rows with 3 labels where 4"),
        (torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), r"shape \(3,\) where \(2,\)"),
        (
            torch.tensor([[0.0, 0], [0, 0], [0, float("nan")], [0, 0]]),
            torch.zeros(4).long(),
            "row 3 holds NaN",
        ),
        (
            torch.tensor([[0.0, 0], [float("inf"), 0], [0, 0], [0, 0]]),
            torch.zeros(4).long(),
            "row 2 holds NaN",
        ),
        (torch.zeros(4, 2), torch.tensor([0, 1, 2, 0]), "labels from 0 to 2 where 0 to 1"),
        (torch.zeros(4, 2), torch.tensor([0, -1, 1, 0]), "labels from -1 to 1"),
    ],
)
def test_validate_names_the_file_and_the_remedy(x, y, problem):
    with pytest.raises(DataError, match=f"toy: toy.csv: .*{problem}.*lpss-data fetch toy"):
        validate("toy", "toy.csv", x, y, Expected((2,), 2, 3, 1), "remove it and run `lpss-data fetch toy`")


def test_validate_accepts_what_is_expected():
    validate("toy", "toy.csv", torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]), Expected((2,), 2, 3, 1))


def test_every_class_must_be_trained():
    whole = numbered([3, 3])
    assert check_classes(whole) is whole
    with pytest.raises(DataError, match="no training row of class 0, 2 of 4"):
        check_classes(Dataset("toy", Split(torch.zeros(2, 1), torch.tensor([1, 3])), whole.test, 4))
