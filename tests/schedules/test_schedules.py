import math

import pytest

from lpss.errors import UsageError
from lpss.options import make_options
from lpss.schedules import SCHEDULES
from lpss.schedules.cosine import cosine


def make(name, **options):
    schedule = SCHEDULES.find(name)
    return schedule(make_options(schedule.Config, options, "schedule"))


def test_constant():
    assert [make("constant")(progress) for progress in (0.0, 0.3, 1.0)] == [1.0, 1.0, 1.0]


def test_cosine_by_hand():
    schedule = make("cosine")
    values = [schedule(progress) for progress in (0, 1 / 3, 0.5, 2 / 3, 1)]
    assert values == pytest.approx([1, 0.75, 0.5, 0.25, 0], abs=1e-15)


def test_cosine_with_warmup_and_final():
    schedule = make("cosine", warmup=0.2, final=0.1)
    assert schedule(0.0) == 1e-3  # not zero: the first step counts
    assert [schedule(x) for x in (0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.5, 1.0, 0.55, 0.1])


def test_the_cosine_function_is_clamped():
    assert [cosine(x) for x in (-1, 0, 0.5, 1, 7)] == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-15)
    assert cosine(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_multistep_by_hand():
    schedule = make("multistep", milestones=[0.5, 0.75], gamma=0.1)
    values = [schedule(x) for x in (0, 0.499, 0.5, 0.74, 0.75, 1)]
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert make("multistep", milestones=[])(1.0) == 1.0


def test_piecewise_by_hand():
    schedule = make("piecewise", knots=[0, 0.25, 0.5, 1], values=[0.2, 1.0, 1.0, 0.0])
    values = [schedule(x) for x in (0, 0.125, 0.25, 0.4, 0.5, 0.75, 1.0)]
    assert values == pytest.approx([0.2, 0.6, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_piecewise_as_the_published_demo():
    """Knots at epochs 0, E/6, E/3, E-3, E with E = 50; basic rates .04, 2, .5, .004, .0002."""
    schedule = make("piecewise", knots=[0, 1 / 6, 1 / 3, 47 / 50, 1], values=[0.04, 2, 0.5, 0.004, 0.0002])
    assert schedule(1 / 12) == pytest.approx(1.02) and schedule(0.25) == pytest.approx(1.25)
    assert schedule(47 / 50) == pytest.approx(0.004) and schedule(1) == pytest.approx(0.0002)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("cosine", {"warmup": 1.0}, "schedule.warmup .* got 1.0"),
        ("cosine", {"warmup": -0.1}, "schedule.warmup .* got -0.1"),
        ("cosine", {"final": 1.5}, "schedule.final .* got 1.5"),
        ("multistep", {"milestones": [0.7, 0.5]}, r"schedule.milestones .* got \[0.7, 0.5\]"),
        ("multistep", {"milestones": [30.0, 60.0]}, "schedule.milestones"),
        ("multistep", {"gamma": 0.0}, "schedule.gamma .* got 0.0"),
        ("piecewise", {"knots": [0.0, 0.5], "values": [1.0, 0.0]}, "schedule.knots must rise from 0 to 1"),
        ("piecewise", {"knots": [0.1, 1.0], "values": [1.0, 0.0]}, "schedule.knots"),
        ("piecewise", {"knots": [0.0, 0.5, 0.5, 1.0], "values": [1.0] * 4}, "schedule.knots"),
        ("piecewise", {"knots": [0.0, 1.0], "values": [1.0]}, "one for each of schedule.values"),
        ("piecewise", {"knots": [], "values": []}, "schedule.knots"),
        ("piecewise", {"values": [1.0, -0.5]}, r"schedule.values .* got \[1.0, -0.5\]"),
        ("cosine", {"gamma": 0.1}, "unknown key schedule.gamma"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(UsageError, match=message):
        make(name, **options)
