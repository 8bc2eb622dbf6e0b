"""Values and columns as text."""

import pytest

from lpss.runs.text import aligned, duration, is_number, runs_text, short, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.123456, "0.1235"),
        (0.9, "0.9"),
        (123456.78, "123457"),
        (1e-9, "1e-09"),
        (-1e5, "-100000"),
        (5, "5"),
        (True, "true"),
        ("a b", "a b"),
        ("a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("\udcff", r"\udcff"),
        ({"é": [1, None]}, '{"é": [1, null]}'),
    ],
)
def test_short(value, text):
    assert short(value) == text


def test_shown_is_whole():
    assert (shown(0.1 + 0.2), shown("x\ny"), shown(None)) == ("0.30000000000000004", "x\ny", "null")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (89 * 60, "89 min"), (90 * 60, "1 h 30 min"), (1e6, "277 h 47 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_columns_are_aligned():
    assert aligned(("name", "n"), [("a", "1"), ("b", "100")], left=("name",)) == "name    n\na       1\nb     100\n"
    assert aligned(("name", "n"), [], left=()) == ""


def test_counts_and_numbers():
    assert [runs_text(count) for count in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [is_number(value) for value in (1, 1.5, True, "1", None)] == [True, True, False, False, False]
