"""trackers.json in a run's folder: what trackers call the run, and which epochs each of them has."""

import json
import secrets
from pathlib import Path

from lpss.files import write_text


class Note:
    """`id`: the run's at trackers, its hash and random digits: the same settings trained again, in another folder or on
    another machine, are another run to them. `logged`: tracker -> the last epoch that it was told of.
    """

    def __init__(self, file: Path, id: str, logged: dict[str, int]):
        self.file, self.id, self.logged = file, id, logged

    @classmethod
    def of(cls, file: Path, hash: str) -> "Note":
        """The one that is there, or a new one where there is none that can be read."""
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return cls(file, str(values["id"]), {str(name): int(epoch) for name, epoch in values["logged"].items()})
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return cls(file, f"{hash}-{secrets.token_hex(3)}", {})

    def write(self) -> None:
        """Raises LpssError."""
        write_text(self.file, json.dumps({"id": self.id, "logged": self.logged}) + "\n")
