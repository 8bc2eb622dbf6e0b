"""A sweep as it is now."""

from contextlib import ExitStack

import pytest

from lpss.record import RunFolder
from lpss.runs.progress import Progress
from lpss.runs.sweep import seconds_left, snapshot


def test_states_progress_and_failures(run_folder, runs):
    run_folder(seed=1)
    run_folder("diverged", folder="d", epochs=3)
    run_folder("failed", folder="f\n", error="RuntimeError: out of\nmemory")
    run_folder(None)
    with ExitStack() as locks:
        locks.enter_context(RunFolder(run_folder(None, method="lpss", seed=5)).lock())
        lines = [" ".join(line.split()) for line in snapshot(runs(), total=9).splitlines()]
    assert lines[0] == "5 of 9 runs: 1 finished, 1 running, 1 interrupted, 1 diverged, 1 failed"
    assert lines[2:4] == ["dataset method sparsity seed epochs accuracy time left", "digits lpss 0.9 5 0 of 20 - -"]
    assert lines[5].startswith("diverged: ") and lines[5].endswith("/d: after epoch 3")
    assert lines[6].startswith("failed: ") and lines[6].endswith(r"/f\n: RuntimeError: out of")


def test_only_the_latest_failures_are_named(run_folder, runs):
    for day in range(1, 13):
        run_folder("failed", folder=f"{13 - day}", error="no", finished=f"2026-01-{day:02}T00:00:00+00:00")
    named = [line for line in snapshot(runs()).splitlines() if line.startswith("failed")]
    assert [line.split("/")[-1] for line in named] == [f"{13 - day}: no" for day in range(3, 13)]


def test_nothing_has_begun():
    assert snapshot([]) == "0 runs: none has begun\n" and snapshot([], 4) == "0 of 4 runs: none has begun\n"


@pytest.mark.parametrize(
    ("left", "total", "seconds"),
    [
        ([], 9, None),
        ([None], 9, None),
        ([30, None], None, 30),
        ([30, 90], None, 90),
        ([30, 90], 4, 90),  # two have finished
        ([30, 90], 6, (30 + 90 + 2 * 50) / 2),  # two more, of the usual 50 s
        ([30, None], 6, (30 + 3 * 50) / 2),
        ([30], 3, 30),
        ([30], 1, 30),
    ],
)
def test_time_left(run_folder, runs, left, total, seconds):
    for took in (40.0, 60.0):
        run_folder(wall_time_s=took)
    assert seconds_left(runs(), [Progress(1, 20, one) for one in left], total) == seconds
