"""Names for things that a config chooses: `method.name: rigl` finds the class that registered as "rigl"."""

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

from lpss.errors import UsageError

T = TypeVar("T")


class Registry(dict):
    """A dict from name to class or object, whose `find` explains a name that is not there."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: enter a class or function as `name`. Raises ValueError where the name is taken."""

        def enter(item: T) -> T:
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self[name] = item
            return item

        return enter

    def find(self, name: str):
        """The entry called `name`. Raises UsageError that lists the known names."""
        if not isinstance(name, str) or name not in self:
            raise UsageError(f"unknown {self.kind} {name!r}{suggestion(name, self)}; known: {', '.join(self)}")
        return self[name]


def suggestion(word: str, known: Iterable[str]) -> str:
    """ ", did you mean 'x'?" where a known word is near, else an empty string."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""
