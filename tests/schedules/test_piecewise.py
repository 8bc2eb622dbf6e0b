import pytest

from lpss.errors import UsageError


def test_piecewise_by_hand(make):
    schedule = make("piecewise", knots=[0, 0.25, 0.5, 1], values=[0.2, 1.0, 1.0, 0.0])
    values = [schedule(x) for x in (0, 0.125, 0.25, 0.4, 0.5, 0.75, 1.0)]
    assert values == pytest.approx([0.2, 0.6, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_piecewise_as_the_published_demo(make):
    """Knots at epochs 0, E/6, E/3, E-3, E with E = 50; basic rates .04, 2, .5, .004, .0002."""
    schedule = make("piecewise", knots=[0, 1 / 6, 1 / 3, 47 / 50, 1], values=[0.04, 2, 0.5, 0.004, 0.0002])
    assert schedule(1 / 12) == pytest.approx(1.02) and schedule(0.25) == pytest.approx(1.25)
    assert schedule(47 / 50) == pytest.approx(0.004) and schedule(1) == pytest.approx(0.0002)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"knots": [0.0, 0.5], "values": [1.0, 0.0]}, "schedule.knots must rise from 0 to 1"),
        ({"knots": [0.1, 1.0], "values": [1.0, 0.0]}, "schedule.knots"),
        ({"knots": [0.0, 0.5, 0.5, 1.0], "values": [1.0] * 4}, "schedule.knots"),
        ({"knots": [0.0, 1.0], "values": [1.0]}, "one for each of schedule.values"),
        ({"knots": [], "values": []}, "schedule.knots"),
        ({"values": [1.0, -0.5]}, r"schedule.values .* got \[1.0, -0.5\]"),
    ],
)
def test_wrong_options_are_named(make, options, message):
    with pytest.raises(UsageError, match=message):
        make("piecewise", **options)
