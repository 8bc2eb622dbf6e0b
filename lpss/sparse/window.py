"""When topology updates happen."""

from lpss.errors import UsageError
from lpss.options import check_range
from lpss.schedules.cosine import cosine

# Steps between updates that drop and grow, at least, if these are automatic. With fewer RigL hardly trains in short
# runs, as its updates move no weights: digits at .9, six epochs, validation part, 3 seeds: .16 with updates at every
# step, .61, .70, .63 with updates every 5, 10, 20; letter, one epoch: .44, .88, .89, .89.
TO_GROW = 10


class Window:
    """When topology updates happen: every so many steps of a part of training, and how far along it is.

    Args:
        begin, end: fractions of training.
        update_every: steps, or 0 for 40 or fewer, so that a short run still sees about `updates` of them, but not fewer
            than `least`: new connections need steps to grow in.
    """

    def __init__(
        self, begin: float, end: float, update_every: int, total_steps: int, updates: int = 50, least: int = 1
    ):
        check_range(begin, "method.begin", 0, 1, open_high=True)
        if not begin < end <= 1:
            raise UsageError(f"method.end must be in (method.begin, 1], got {end} with method.begin={begin}")
        if update_every < 0:
            raise UsageError(f"method.update_every must be at least 1, or 0 for automatic, got {update_every}")
        self.first, self.last = round(begin * total_steps), round(end * total_steps)
        self.every = update_every or min(40, max(least, (self.last - self.first) // updates))

    @property
    def last_update(self) -> int:
        """The last step with an update; -1 if there is none."""
        last = self.last - 1 - (self.last - 1 - self.first) % self.every if self.last > self.first else -1
        return last if last > 0 else -1

    def should_update(self, step: int) -> bool:
        """Whether the masks change at this step; never at step 0, when the net has not been trained yet."""
        return self.first <= step < self.last and step > 0 and (step - self.first) % self.every == 0

    def progress(self, step: int) -> float:
        """How far along the updates are: 0 at the window's first step, 1 at the last update and from then on."""
        if step >= self.last_update:
            return 1.0
        return (step - self.first) / max(self.last_update - self.first, 1)

    def decay(self, kind: str, step: int, from_begin: bool = False) -> float:
        """`cosine` (eq 4 without alpha: from 1 at step 0, or at the window's begin, to 0 at its end) or `constant`."""
        if kind == "constant":
            return 1.0
        if kind == "cosine":
            first = self.first if from_begin else 0
            return cosine((step - first) / max(self.last - first, 1))
        raise UsageError(f"method.drop_schedule must be cosine or constant, got {kind!r}")
