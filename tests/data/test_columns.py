"""What columns are taken for, and what cells become."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from lpss.data.columns import Reading, Recipe, Wishes, fit, plain_numbers
from lpss.errors import DataError, UsageError


def learn(wishes=None, reading=None, **columns):
    """A recipe of a table with these columns and labels."""
    table = pd.DataFrame(columns)
    return fit(table.assign(label="a"), "label", wishes or Wishes(), reading or Reading(), "t.csv"), table


def encoded(recipe, **columns):
    return recipe.encode(pd.DataFrame(columns), "new.csv").tolist()


def test_numbers_are_standardised_by_the_training_rows_and_missing_ones_are_their_median():
    recipe, table = learn(age=["1", " 3 ", "", "8"])
    assert recipe.features == ["age", "age is missing"]
    filled = np.array([1, 3, 3, 8])
    expected = (filled - filled.mean()) / filled.std()
    assert np.allclose(recipe.encode(table)[:, 0], expected) and recipe.encode(table)[:, 1].tolist() == [0, 0, 1, 0]
    assert np.allclose(encoded(recipe, age=[3, None]), [[expected[1], 0], [expected[1], 1]])


def test_large_numbers_keep_their_differences():
    recipe, table = learn(second=[1_700_000_000.0, 1_700_000_001, 1_700_000_002])  # float32 knows no such steps
    assert np.allclose(recipe.encode(table).flatten(), np.array([-1, 0, 1]) * math.sqrt(1.5))


def test_categories_have_an_input_a_level_and_unknown_levels_none():
    recipe, table = learn(city=["Rome", "Oslo", "Rome", "NA"])
    assert recipe.features == ["city=Oslo", "city=Rome", "city is missing"]
    assert recipe.encode(table).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    new = pd.DataFrame({"city": ["Bern", "Oslo", None]})
    assert recipe.encode(new).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert recipe.unknown(new) == {"city": 1} and recipe.unknown(table) == {}


def test_a_column_without_missing_cells_has_no_input_for_them():
    recipe, _ = learn(n=["1", "2"], c=["x", "y"])
    assert recipe.features == ["n", "c=x", "c=y"]
    assert encoded(recipe, n=[""], c=[""]) == [[0, 0, 0]]


def test_only_the_most_frequent_levels_are_inputs():
    recipe, _ = learn(Wishes(max_levels=2), c=["a", "b", "b", "c", "c", "c"])
    assert recipe.features == ["c=b", "c=c"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", "3"], "number"),
        (["1e3", "-.5", "2"], "number"),
        (["1", "two", "3"], "category"),
        ([True, False, True], "category"),
        ([1.5, np.nan, 2], "number"),
        (pd.array([1, None, 3], dtype="Int64"), "number"),
        (pd.to_datetime(["2026-01-01", None, "2026-01-03"]), "number"),
        (pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]).tz_localize("UTC"), "number"),
        (pd.Categorical(["x", "y", "x"]), "category"),
        (pd.to_timedelta([1, 2, 3], unit="s"), "number"),
    ],
)
def test_columns_are_typed_by_what_is_in_them(cells, kind):
    recipe, table = learn(c=cells)
    assert [column.kind for column in recipe.columns] == [kind]
    assert torch.isfinite(recipe.encode(table)).all()


def test_whole_numbers_are_the_same_levels_in_a_file_and_in_a_frame():
    recipe, _ = learn(Wishes(categorical=["zip"]), zip=["10", "20", "10"])
    assert encoded(recipe, zip=[10, 20]) == encoded(recipe, zip=[10.0, 20.0]) == encoded(recipe, zip=["10", "20"])


def test_decimals_may_have_a_comma():
    recipe, _ = learn(reading=Reading(decimal=","), c=["1,5", "2,5", "3,5"])
    assert recipe.columns[0].mean == 2.5


def test_useless_columns_are_left_out_and_said_so():
    names = [f"name {i}" for i in range(50)]
    recipe, _ = learn(Wishes(drop=["d"]), id=names, same=["x"] * 50, none=[""] * 50, n=range(50), d=range(50))
    assert recipe.left_out == {
        "d": "as asked",
        "id": "a text of its own for most rows",
        "same": "the same in all rows",
        "none": "empty",
    }
    assert [column.name for column in recipe.columns] == ["n"]
    wished, _ = learn(Wishes(categorical=["id"]), id=names)
    assert len(wished.features) == 50


def test_a_mistake_among_numbers_names_row_and_column():
    cells = [str(i) for i in range(30)]
    cells[16] = "12;5"
    with pytest.raises(DataError, match=r"t.csv: row 17, column c: '12;5' is no number, as 96.7% of the column's"):
        learn(c=cells)
    recipe, _ = learn(reading=Reading(missing=("12;5",)), c=cells)
    assert recipe.columns[0].indicator


@pytest.mark.parametrize("cell", ["inf", "1e999", "-1e200"])
def test_numbers_that_are_too_large_are_refused(cell):
    with pytest.raises(DataError, match=f"t.csv: row 2, column c: '{cell}' is no finite number"):
        learn(c=["1", cell, "3"])
    recipe, _ = learn(c=["1", "2", "3"])
    with pytest.raises(DataError, match=f"new.csv: row 1, column c: '{cell}' is no finite number"):
        encoded(recipe, c=[cell])
    with pytest.raises(DataError, match="new.csv: row 2, column c: '1e60' is too far from those trained with"):
        encoded(recipe, c=["1", "1e60"])


def test_new_rows_that_do_not_fit_are_refused():
    recipe, _ = learn(age=["1", "2"], town=["x", "y"])
    with pytest.raises(DataError, match=r"new.csv: there is no column age, did you mean 'Age'\?"):
        encoded(recipe, Age=[1], town=["x"])
    with pytest.raises(DataError, match="new.csv: row 2, column age: 'old' is no number"):
        encoded(recipe, age=["1", "old"], town=["x", "x"])
    assert len(encoded(recipe, more=[1], town=["x"], age=[1])[0]) == 3, "order and other columns do not matter"


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes(drop=["nn"]), r"dataset.drop: there is no column 'nn', did you mean 'n'\?"),
        (Wishes(numeric=["n"], categorical=["n"]), "dataset.categorical: column 'n' is in dataset.numeric, too"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(wishes, message):
    with pytest.raises(UsageError, match=message):
        learn(wishes, n=["1", "2"])


def test_a_table_without_inputs_is_refused():
    with pytest.raises(DataError, match=r"t.csv: no column is left to learn from \(c: the same in all rows\)"):
        learn(c=["1", "1"])


def test_a_recipe_is_plain_data():
    recipe, table = learn(age=["1", "2", ""], city=["ü", 'a"b', "NA"], same=["x"] * 3)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe and torch.equal(again.encode(table), recipe.encode(table))


def test_plain_numbers_are_those_of_all_columns():
    assert plain_numbers(pd.DataFrame({"a": ["1", "2"], "b": [3, 4]}), "t").tolist() == [[1, 3], [2, 4]]
    with pytest.raises(DataError, match="t: row 2, column a: '' is no number"):
        plain_numbers(pd.DataFrame({"a": ["1", ""]}), "t")
