"""Lists of runs in all formats."""

import csv
import io
import json

import pytest

from lpss.runs.listing import BRIEF, WHOLE, listing


@pytest.fixture
def two(run_folder, runs):
    run_folder(folder="ä|b", accuracy_last=0.123456789, seed=7)
    run_folder("failed", folder="new\nline", accuracy_last=None, warnings=["a, b"], wall_time_s=123456.7)
    return runs()


def test_text_has_a_line_a_run_with_numbers_to_the_right(two):
    header, *lines = listing(two, None, "text").splitlines()
    assert header.split() == list(BRIEF) and len(lines) == 2
    assert lines[0].split()[:-1] == ["failed", "digits", "set", "0.9", "0", "-", "-", "123457"]
    assert lines[0].endswith(r"outputs/new\nline") and lines[1].endswith("outputs/ä|b")
    end = header.index("accuracy_last") + len("accuracy_last")
    assert (lines[0][:end][-1], lines[1][:end][-6:]) == ("-", "0.1235")


def test_markdown_is_one_table(two):
    lines = listing(two, ["folder", "seed"], "md").splitlines()
    assert len(lines) == 4 and lines[0].startswith("| folder") and r"ä\|b" in lines[3]


def test_csv_holds_every_field_and_every_digit(two):
    rows = list(csv.DictReader(io.StringIO(listing(two, None, "csv"))))
    assert list(rows[0]) == list(WHOLE)
    assert (rows[1]["accuracy_last"], rows[0]["accuracy_last"], rows[0]["warnings"]) == ("0.123456789", "", '["a, b"]')
    assert rows[0]["folder"].endswith("new\nline") and json.loads(rows[0]["config"])["train"]["epochs"] == 20


def test_json_holds_values_as_they_are(two):
    first, second = json.loads(listing(two, ["accuracy_last", "train.epochs", "config", "warnings"], "json"))
    assert (first["accuracy_last"], second["accuracy_last"]) == (None, 0.123456789)
    assert (first["train.epochs"], first["warnings"], first["config"]["seed"]) == (20, ["a, b"], 0)


@pytest.mark.parametrize(("format", "text"), [("text", ""), ("csv", "seed\n"), ("json", "[]\n")])
def test_no_runs(format, text):
    assert listing([], ["seed"], format) == text
    assert listing([], ["seed"], "md").startswith("| seed |")
