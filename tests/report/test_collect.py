import json
import math
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest

from lpss.errors import LpssError, UsageError
from lpss.report.collect import COLUMNS, collect, layers_of, metrics_of, to_results_csv, unended


def test_a_row_a_run_with_flat_columns(tmp_path, write_run):
    write_run("deep/down/here", p={"0.9": 1.07, "0.5": 1.3}, sparsity=None, method="dense", experiment=None)
    frame = collect(tmp_path / "outputs")
    assert list(frame) == list(COLUMNS)
    row = frame.iloc[0]
    assert row["folder"] == (tmp_path / "outputs/deep/down/here").as_posix()
    assert (row["experiment"], row["p"]) == ("", '{"0.5": 1.3, "0.9": 1.07}')
    assert math.isnan(row["sparsity"]) and row["peak_memory_bytes"] is pd.NA and row["parameters"] == 1000


def test_files_and_folders_may_overlap(tmp_path, write_run):
    folder = write_run(seed=0)
    write_run(seed=1)
    assert len(collect([tmp_path / "outputs", folder, folder / "run.json"])) == 2


@pytest.mark.parametrize("text", ["{", "[1]", '{"hello": 1}', "\udcff", None])
def test_broken_and_foreign_files_are_named_and_skipped(tmp_path, write_run, caplog, text):
    write_run(seed=0)
    folder = write_run(seed=1)
    run = json.loads((folder / "run.json").read_text()) | {"schema": 2}
    text = json.dumps(run) if text is None else text
    (folder / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    assert list(collect(tmp_path / "outputs")["seed"]) == [0]
    assert len(caplog.messages) == 1 and f"{folder}/run.json" in caplog.messages[0]


def test_a_field_of_the_wrong_type_skips_the_file(tmp_path, write_run, caplog):
    write_run(seed=0)
    write_run("odd", accuracy_last={"no": "number"})
    assert len(collect(tmp_path / "outputs")) == 1 and "odd" in caplog.text


def test_of_duplicates_the_newest_stays(tmp_path, write_run):
    # 01:30 at +02:00 is older than 00:00 UTC, although its text sorts after it.
    for name, finished, accuracy in (
        ("b", "2026-01-01T00:00:00+00:00", 0.8),
        ("a", "2026-01-01T01:30:00+02:00", 0.7),
    ):
        write_run(name, config_hash="1e5", finished=finished, accuracy_last=accuracy)
    write_run("c", config_hash="1e5", seed=7, accuracy_last=0.6)
    write_run("d", config_hash=None)
    write_run("e", config_hash=None)
    frame = collect(tmp_path / "outputs")
    assert [folder[-1] for folder in frame["folder"]] == ["b", "c", "d", "e"]


def test_nothing_found_is_a_usage_error_that_names_the_folder(tmp_path):
    with pytest.raises(UsageError, match=str(tmp_path)):
        collect(tmp_path)
    with pytest.raises(UsageError, match="nowhere: no such"):
        collect(tmp_path / "nowhere")


def test_results_csv_gives_the_same_frame_again(tmp_path, write_run):
    write_run(seed=0, accuracy_last=0.1 + 0.2, config_hash="00123456", git_commit="1e10", loss_last=math.inf)
    write_run(seed=1, accuracy_last=None, status="failed", warnings=['layer "fc1" is empty, see log', "NA"])
    frame = collect(tmp_path / "outputs")
    to_results_csv(frame, tmp_path / "sub/results.csv")
    pd.testing.assert_frame_equal(collect(tmp_path / "sub/results.csv"), frame)
    # A source beside the folders it came from adds nothing.
    pd.testing.assert_frame_equal(collect([tmp_path / "sub/results.csv", tmp_path / "outputs"]), frame)


def test_a_foreign_csv_is_a_usage_error(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="x.csv is not a results.csv"):
        collect(tmp_path / "x.csv")


def test_unwritable_results(tmp_path, write_run):
    write_run()
    with pytest.raises(LpssError, match="could not be written"):
        to_results_csv(collect(tmp_path / "outputs"), tmp_path)


def test_layers(tmp_path, write_run, caplog):
    rows = [
        ["fc1", "linear", "(8, 4)", 1.1, 32, 0.1, 0.12, 0.88, 0.7],
        ["head", "head", "(2, 8)", "", 16, 1, 1, 0, ""],
    ]
    write_run(seed=0, layers=rows)
    broken = write_run(seed=1)
    (broken / "layers.csv").write_text("a,b\n1,2\n")
    found = layers_of(collect(tmp_path / "outputs"))
    assert list(found["layer"]) == ["fc1", "head"] and list(found["sparsity_reached"]) == [0.88, 0]
    assert set(found["method"]) == {"set"} and set(found["seed"]) == {0}
    assert str(broken / "layers.csv") in caplog.text
    assert layers_of(collect(broken)).empty


def test_metrics_of_earlier_versions_lack_columns_and_those_of_others_are_skipped(tmp_path, write_run, caplog):
    (write_run(seed=0) / "metrics.csv").write_text("epoch,eval_accuracy\n1,0.5\n2,0.75\n")
    (write_run(seed=1) / "metrics.csv").write_text("a,b\n1,2\n")
    (write_run(seed=2) / "metrics.csv").write_text("")
    write_run(seed=3)
    found = metrics_of(collect(tmp_path / "outputs"))
    assert list(found["epoch"]) == [1, 2] and list(found["eval_accuracy"]) == [0.5, 0.75]
    assert found["explored"].isna().all() and set(found["folder"].str[-5:]) == {"seed0"}
    assert len(caplog.messages) == 2 and "it has no column 'epoch'" in caplog.text


def test_runs_that_have_begun_and_not_ended(tmp_path, write_run):
    (write_run(seed=0) / "run.log").write_text("")
    begun = tmp_path / "outputs/begun"
    begun.mkdir()
    (begun / "run.log").write_text("")
    assert unended([tmp_path, tmp_path / "outputs", tmp_path / "nowhere"]) == [begun]
    assert unended(tmp_path, "outputs") == [begun] and unended(tmp_path, "other") == []


def test_the_table_starts_without_what_takes_long_to_load():
    code = "import sys, lpss.cli.table; assert not {'torch', 'scipy', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_results_csv_of_an_earlier_version_is_refused(tmp_path, write_run):
    write_run()
    collect(tmp_path / "outputs").drop(columns="sparsity_own").to_csv(tmp_path / "old.csv", index=False)
    with pytest.raises(UsageError, match="old.csv is not a results.csv of lpss-table: it has no column 'sparsity_own'"):
        collect(tmp_path / "old.csv")


def test_reports_never_import_torch():
    code = (
        "import sys, lpss.cli.table, lpss.report.figures, lpss.report.collect, lpss.report.published\n"
        "import lpss.report.rank_figure, lpss.report.render, lpss.report.tables, lpss.report.comparison_report\n"
        "import lpss.cli.report, lpss.report.page.page\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def small_disk():
    """Files of more than 100 bytes cannot be written, as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system has no file size limits")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.mark.parametrize("option", ["--results", "--output", "--figure", "--paired", "--ranks"])
def test_a_file_that_cannot_be_replaced_stays_whole(tmp_path, sweep, small_disk, option, capsys):
    from lpss.cli.table import main

    suffix = {"--results": ".csv", "--output": ".md", "--paired": ".md"}.get(option, ".png")
    file = tmp_path / f"good{suffix}"
    words = [str(tmp_path / "outputs"), "--output", str(tmp_path / "other.md"), option, str(file)]
    assert main(words) == 0
    good = file.read_bytes()
    assert len(good) > 100
    (tmp_path / "other.md").unlink(missing_ok=True)
    with small_disk():
        assert main(words) == 1
    assert file.read_bytes() == good and "could not be written" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
