"""How far a run is."""

import os

import pytest

from lpss.record import EPOCH_FIELDS, RunFolder
from lpss.registries import METHODS
from lpss.runs.progress import Progress, progress

BEGUN = 1_000_000.0


@pytest.fixture
def training(run_folder, runs):
    """training(epochs done, seconds each took, when they were written, ...) -> the run and its folder."""

    def write(done, seconds, written, **fields):
        path = run_folder(None, **fields)
        row = dict.fromkeys(EPOCH_FIELDS, 0.0) | {"seconds": seconds, "eval_accuracy": 0.8}
        if done:
            RunFolder(path).write_metrics([row | {"epoch": n, "step": 10 * n} for n in range(1, done + 1)])
            os.utime(path / "metrics.csv", (written, written))
        os.utime(path / "config.yaml", (BEGUN, BEGUN))
        return runs()[-1], path

    return write


def test_before_the_first_epoch_no_time_is_known(training):
    run, _ = training(0, 0, 0)
    assert progress(run) == Progress(0, 20)


def test_time_left_counts_evaluation_and_what_has_passed_of_the_epoch(training):
    run, _ = training(4, 10.0, BEGUN + 60)  # 15 s an epoch, of which 10 s are training
    assert progress(run, BEGUN + 60) == Progress(4, 20, 16 * 15, 0.8)
    assert progress(run, BEGUN + 65).seconds_left == 16 * 15 - 5
    assert progress(run, BEGUN + 10_000).seconds_left == 0


def test_a_resumed_run_is_timed_by_the_epochs_since(training):
    run, path = training(4, 10.0, BEGUN + 25)  # two of the four have been since
    (path / "checkpoint.pt").touch()
    assert progress(run, BEGUN + 25).seconds_left == 16 * 12.5
    os.utime(path / "metrics.csv", (BEGUN - 500, BEGUN - 500))  # none yet: they are those of the checkpoint
    assert progress(run, BEGUN - 500) == Progress(4, 20, 160, 0.8)


def test_epochs_of_an_earlier_training_do_not_count_for_one_that_began_anew(training):
    run, _ = training(20, 10.0, BEGUN - 500)
    assert progress(run) == Progress(0, 20)


def test_the_most_steps_end_it_early(training):
    run, _ = training(4, 10.0, BEGUN + 60, settings={"train.max_steps": 55})  # 10 an epoch
    assert progress(run).total == 6


def test_a_method_of_several_trainings_has_all_their_epochs(training):
    run, _ = training(4, 10.0, BEGUN + 60, method="imp", settings={"method.rounds": 2})
    assert progress(run).total == 60


def test_methods_of_several_trainings_say_so():
    from lpss.sparse.methods.base import Method

    several = {name for name in METHODS if METHODS[name].trainings.__func__ is not Method.trainings.__func__}
    assert several == {name for name, member in METHODS.members.items() if member.several} != set()


@pytest.mark.parametrize("epochs", ["many", None, [3]])
def test_settings_that_make_no_sense_are_no_error(training, epochs):
    run, _ = training(4, 10.0, BEGUN + 60, settings={"train.epochs": epochs})
    assert progress(run).total == 0


def test_a_plugins_method_has_one(training):
    run, _ = training(4, 10.0, BEGUN + 60, method="of_a_plugin")
    assert progress(run).total == 20


@pytest.mark.parametrize("text", ["", "epoch\n1\n", "epoch,step,seconds,eval_accuracy\n1,0,1,1\n", "\0", "a,b\nx,y\n"])
def test_broken_metrics_are_none(training, text):
    run, path = training(1, 1.0, BEGUN + 60)
    (path / "metrics.csv").write_text(text)
    assert progress(run) == Progress(0, 20)
