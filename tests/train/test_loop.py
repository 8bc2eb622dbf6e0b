"""The loop: learning rates, metrics rows, where it stops, what it does with a loss that is not finite."""

import math

import pytest
import torch
from torch import nn

import lpss
from lpss.data import Batches, Split, eval_batches
from lpss.schedules import SCHEDULES
from lpss.train.cost import Cost
from lpss.train.loop import Diverged, Progress, fit
from lpss.train.step import TrainStep


def build(lr=0.1, schedule="cosine", **options):
    torch.manual_seed(0)
    x = torch.randn(100, 5)
    split = Split(x, (x[:, 0] > 0).long())
    net = nn.Linear(5, 2)
    optimizer = torch.optim.SGD([{"params": [net.weight], "lr": lr}, {"params": [net.bias], "lr": lr / 10}])
    method = lpss.Dense(net, optimizer, total_steps=50)
    kind = SCHEDULES[schedule]
    options = {"epochs": 5, "total_steps": 50, "progress": Progress()} | options
    return (
        options["progress"],
        optimizer,
        lambda: fit(
            TrainStep(net, method),
            Batches(split, 10, seed=0),
            kind(kind.Config()),
            lambda: eval_batches(split, 64),
            Cost(net, method.masks, x[:1]),
            **options,
        ),
    )


def test_rows_hold_one_epoch_each_and_the_net_learns():
    progress, optimizer, train = build()
    train()
    assert [row["epoch"] for row in progress.rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in progress.rows] == [10, 20, 30, 40, 50]
    assert progress.rows[-1]["train_loss"] < progress.rows[0]["train_loss"]
    assert progress.best() == max(progress.rows, key=lambda row: row["eval_accuracy"])
    assert progress.rows[-1]["eval_accuracy"] > 0.85


def test_every_groups_learning_rate_follows_the_schedule():
    _, optimizer, train = build()
    train()
    factor = 0.5 * (1 + math.cos(math.pi * 49 / 50))  # of the last step
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.01 * factor])


def test_training_ends_at_total_steps_within_an_epoch():
    progress, _, train = build(total_steps=13)
    train()
    assert [row["step"] for row in progress.rows] == [10, 13]


def test_a_finished_progress_is_left_alone():
    progress, _, train = build(progress=Progress(epoch=5, step=50, rows=[{"epoch": 5}]))
    train()
    assert progress.rows == [{"epoch": 5}]


def test_after_epoch_sees_each_row():
    seen = []
    progress, _, train = build(after_epoch=lambda progress: seen.append(len(progress.rows)))
    train()
    assert seen == [1, 2, 3, 4, 5]


def test_a_loss_that_is_not_finite_ends_the_run_with_its_epoch_recorded():
    progress, _, train = build(lr=1e38, schedule="constant")
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) in epoch \d"):
        train()
    assert not math.isfinite(progress.rows[-1]["train_loss"])
    assert all(math.isfinite(row["train_loss"]) for row in progress.rows[:-1])


def test_a_watched_bar_shows_the_numbers(capsys, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr("lpss.train.loop.time.perf_counter", lambda: float(next(ticks)))
    _, _, train = build(bar=True, label="toy", epochs=1)
    train()
    shown = capsys.readouterr().err
    for word in ("toy", "loss=", "acc=", "sparsity=", "samples_s="):
        assert word in shown
