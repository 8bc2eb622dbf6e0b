import pytest

from lpss.errors import UsageError


def test_multistep_by_hand(make):
    schedule = make("multistep", milestones=[0.5, 0.75], gamma=0.1)
    values = [schedule(x) for x in (0, 0.499, 0.5, 0.74, 0.75, 1)]
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert make("multistep", milestones=[])(1.0) == 1.0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"milestones": [0.7, 0.5]}, r"schedule.milestones .* got \[0.7, 0.5\]"),
        ({"milestones": [30.0, 60.0]}, "schedule.milestones"),
        ({"gamma": 0.0}, "schedule.gamma .* got 0.0"),
    ],
)
def test_wrong_options_are_named(make, options, message):
    with pytest.raises(UsageError, match=message):
        make("multistep", **options)
