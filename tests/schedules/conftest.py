import pytest

from lpss.options import make_options
from lpss.schedules import SCHEDULES


@pytest.fixture
def make():
    """make("cosine", warmup=0.2) -> that schedule."""

    def make(name, **options):
        schedule = SCHEDULES.find(name)
        return schedule(make_options(schedule.Config, options, "schedule"))

    return make
