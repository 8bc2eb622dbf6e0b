"""Paths and words that name runs."""

import pytest

from lpss.errors import UsageError
from lpss.report.collect import collect, to_results_csv
from lpss.runs.find import Places, find_run


@pytest.fixture
def outputs(tmp_path, run_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_folder(folder="a", config_hash="abc111111111", versions={"torch": "2.6.0"}, p=1.07)
    run_folder(folder="b", config_hash="abc222222222")
    run_folder("diverged", folder="b/c", config_hash="def333333333")
    return "outputs"


def test_folders_files_and_tables_may_overlap(outputs):
    to_results_csv(collect(outputs), "results.csv")
    for paths in (["outputs"], ["results.csv"], ["outputs", "outputs/b", "outputs/a/run.json", "results.csv"]):
        runs = Places(paths).runs()
        assert sorted(run.folder for run in runs) == ["outputs/a", "outputs/b", "outputs/b/c"]


def test_a_table_says_what_the_folders_said(outputs, tmp_path):
    to_results_csv(collect(outputs), "results.csv")
    for kept, row in zip(Places(["outputs"]).runs(), Places(["results.csv"]).runs(), strict=True):
        assert (kept.folder, kept.record, kept.config) == (row.folder, row.record, row.config)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "nowhere: no such file or folder"),
        ("nul\0", "no such file or folder"),
        ("outputs/a/config.yaml", "config.yaml is no folder that holds runs, and no results.csv"),
    ],
)
def test_a_wrong_path_is_named(outputs, path, message):
    with pytest.raises(UsageError) as raised:
        Places([path])
    assert message in str(raised.value)


def test_where_only_folders_will_do_a_table_is_refused(outputs):
    to_results_csv(collect(outputs), "results.csv")
    with pytest.raises(UsageError, match="results.csv is no folder that holds runs$"):
        Places(["outputs", "results.csv"], only_folders=True)


@pytest.mark.parametrize(
    ("word", "folder"),
    [
        ("outputs/a", "outputs/a"),
        ("outputs/a/run.json", "outputs/a"),
        ("outputs/b", "outputs/b"),  # and not the run that lies in it
        ("abc1", "outputs/a"),
        ("def333333333", "outputs/b/c"),
        ("d", "outputs/b/c"),
    ],
)
def test_one_run(outputs, word, folder):
    assert find_run(word, [outputs]).folder == folder


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("outputs", "outputs: 3 runs in outputs (outputs/a, outputs/b, outputs/b/c): name one"),
        ("abc", "abc: 2 runs with a hash that begins so, in outputs (outputs/a, outputs/b): name one"),
        ("xyz", "xyz: no run with a hash that begins so, in outputs"),
        ("", "3 runs with a hash"),
        ("empty", "empty: no run in empty"),
    ],
)
def test_no_run_or_several(outputs, tmp_path, word, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as raised:
        find_run(word, [outputs])
    assert message in str(raised.value)
