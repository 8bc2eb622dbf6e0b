"""The loop: learning rates, metrics rows, where it stops, what it does with a loss that is not finite."""

import copy
import math
import time
from dataclasses import asdict
from functools import partial

import pytest
import torch
from torch import nn

import lpss
from lpss.data import Batches, Split, eval_batches
from lpss.record import EPOCH_TIMES
from lpss.schedules import build_schedule
from lpss.train.cost import Cost
from lpss.train.step import TrainStep
from lpss.train.trainer import Diverged, Progress, Stopwatch, Trainer


def build(lr=0.1, schedule="cosine", **options):
    torch.manual_seed(0)
    x = torch.randn(100, 5)
    split = Split(x, (x[:, 0] > 0).long())
    net = nn.Linear(5, 2)
    optimizer = torch.optim.SGD([{"params": [net.weight], "lr": lr}, {"params": [net.bias], "lr": lr / 10}])
    method = lpss.Dense(net, optimizer, total_steps=50)
    trainer = Trainer(
        TrainStep(net, method),
        Batches(split, 10, seed=0),
        build_schedule({"name": schedule}),
        lambda: eval_batches(split, 64),
        Cost(net, method.masks, x[:1]),
        **{"epochs": 5, "total_steps": 50} | options,
    )
    return trainer


def test_rows_hold_one_epoch_each_and_the_net_learns():
    trainer = build()
    trainer.train()
    progress = trainer.progress
    assert [row["epoch"] for row in progress.rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in progress.rows] == [10, 20, 30, 40, 50]
    assert progress.rows[-1]["train_loss"] < progress.rows[0]["train_loss"]
    assert progress.best() == max(progress.rows, key=lambda row: row["eval_accuracy"])
    assert progress.rows[-1]["eval_accuracy"] > 0.85


def test_every_groups_learning_rate_follows_the_schedule():
    trainer = build()
    trainer.train()
    optimizer = trainer.step.method.optimizer
    factor = 0.5 * (1 + math.cos(math.pi * 49 / 50))  # of the last step
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.01 * factor])


def test_training_ends_at_total_steps_within_an_epoch():
    trainer = build(total_steps=13)
    trainer.train()
    assert [row["step"] for row in trainer.progress.rows] == [10, 13]


def test_a_finished_progress_is_left_alone():
    trainer = build()
    finished = asdict(Progress(epoch=5, step=50, rows=[{"epoch": 5}]))
    trainer.progress.load_state_dict(finished)
    trainer.train()
    assert asdict(trainer.progress) == finished


def test_after_epoch_sees_each_row():
    seen = []
    trainer = build(after_epoch=lambda: seen.append(len(trainer.progress.rows)))
    trainer.train()
    assert seen == [1, 2, 3, 4, 5]


class Left(BaseException):
    pass


def _leave_at(trainer, step):
    if trainer.progress.step == step:
        raise Left


@pytest.mark.parametrize("total_steps", [50, 47, 10])
def test_training_left_after_any_step_goes_on_as_if_it_had_not_been(total_steps):
    """After the first, the last, every epoch's last step: the same rows and weights."""
    whole = build(total_steps=total_steps)
    whole.train()
    for stop in range(1, total_steps + 1):
        cut = build(total_steps=total_steps)
        cut.after_step = partial(_leave_at, cut, stop)
        with pytest.raises(Left):
            cut.train()
        state = copy.deepcopy(cut.state_dict())
        again = build(total_steps=total_steps)
        again.load_state_dict(state)
        again.train()
        times = dict.fromkeys(EPOCH_TIMES)
        assert [row | times for row in again.progress.rows] == [row | times for row in whole.progress.rows], stop
        pairs = zip(again.step.net.parameters(), whole.step.net.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), stop


def test_a_clock_that_is_set_back_does_not_make_time_run_backwards(monkeypatch):
    stopwatch = Stopwatch()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert stopwatch.seconds() >= 0
    later = Stopwatch()
    later.load_state_dict({"seconds": 100.0})
    assert 100 <= later.seconds() < 200


def test_what_a_clock_is_paused_for_takes_no_time(monkeypatch):
    monkeypatch.setattr(time, "monotonic", iter(range(0, 100, 10)).__next__)  # ten seconds between two looks at it
    stopwatch = Stopwatch()
    with stopwatch.paused():
        pass
    assert stopwatch.seconds() == 20


def test_a_loss_that_is_not_finite_ends_the_run_with_its_epoch_recorded():
    trainer = build(lr=1e38, schedule="constant")
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) in epoch \d"):
        trainer.train()
    progress = trainer.progress
    assert not math.isfinite(progress.rows[-1]["train_loss"])
    assert all(math.isfinite(row["train_loss"]) for row in progress.rows[:-1])


def test_a_watched_bar_shows_the_numbers(capsys, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr("lpss.train.trainer.time.perf_counter", lambda: float(next(ticks)))
    build(bar=True, label="toy", epochs=1).train()
    shown = capsys.readouterr().err
    for word in ("toy", "loss=", "acc=", "sparsity=", "samples_s="):
        assert word in shown
