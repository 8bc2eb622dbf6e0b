import math

import pytest

from lpss.errors import UsageError
from lpss.schedules.cosine import cosine


def test_cosine_by_hand(make):
    schedule = make("cosine")
    values = [schedule(progress) for progress in (0, 1 / 3, 0.5, 2 / 3, 1)]
    assert values == pytest.approx([1, 0.75, 0.5, 0.25, 0], abs=1e-15)


def test_cosine_with_warmup_and_final(make):
    schedule = make("cosine", warmup=0.2, final=0.1)
    assert schedule(0.0) == 1e-3  # not zero: the first step counts
    assert [schedule(x) for x in (0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.5, 1.0, 0.55, 0.1])


def test_the_cosine_function_is_clamped():
    assert [cosine(x) for x in (-1, 0, 0.5, 1, 7)] == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-15)
    assert cosine(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"warmup": 1.0}, "schedule.warmup .* got 1.0"),
        ({"warmup": -0.1}, "schedule.warmup .* got -0.1"),
        ({"final": 1.5}, "schedule.final .* got 1.5"),
        ({"gamma": 0.1}, "unknown key schedule.gamma"),
    ],
)
def test_wrong_options_are_named(make, options, message):
    with pytest.raises(UsageError, match=message):
        make("cosine", **options)
