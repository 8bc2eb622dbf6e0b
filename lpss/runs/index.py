"""All runs below a folder, read from an index where their files have not changed since it was written.

The index is a file in the user's cache folder ($XDG_CACHE_HOME or ~/.cache), so that folders of runs may be read-only
and hold nothing but runs. It is never believed without a look: every folder is listed, and what is known of a run
counts only while times, size and inode of its files are what they were. Without it (damaged, of another version, not
writable) all files are read, and nothing is different but the time it takes.
"""

import hashlib
import json
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path

import lpss
from lpss.errors import LpssError
from lpss.files import write_atomically
from lpss.record import ENDED, FIELDS, INTERRUPTED, RUNNING, SCHEMA, RunFolder
from lpss.runs.folders import read, scan
from lpss.runs.run import Cell, Run

VERSION = f"lpss-runs {lpss.__version__} {SCHEMA} {zlib.crc32(' '.join(FIELDS).encode()):08x}"
FEWEST = 100  # runs that are worth an index
STALE = 0.02  # share of runs that may have changed before it is written again: reading those takes less time
YOUNG = 2 * 10**9  # ns: a file that changed so lately may change again without its time showing it


class Index:
    """What is known of the runs at or below the folder `root`; for any number of looks."""

    def __init__(self, root: Path):
        self.root = root
        self.file = _cache_file(root)
        self.known: dict[str, list] = _load(self.file)  # folder -> [marks, cells]
        self.stored = self.known

    def runs(self) -> list[Run]:
        """The runs as they are now, sorted by folder. Unreadable ones are left out, with a logged warning."""
        found, settled = [], time.time_ns() - YOUNG
        known, self.known = self.known, {}
        for folder, marks in scan(self.root):
            entry = known.get(folder)
            if entry is None or entry[0] != marks:
                entry = [marks, read(self.root / folder)]
            if entry[1] is not None:
                found.append(self._run(folder, entry[1]))
                if max(mark for file in marks if file for mark in file[:2]) < settled:
                    self.known[folder] = entry
        folders = self.known.keys() | self.stored.keys()
        changed = sum(self.known.get(folder) is not self.stored.get(folder) for folder in folders)
        if len(self.known) >= FEWEST and changed > STALE * len(self.known):
            _store(self.file, self.known)
            self.stored = self.known
        return sorted(found, key=lambda run: run.folder)

    def _run(self, folder: str, cells: dict[str, Cell]) -> Run:
        path = self.root / folder
        if cells["status"] in ENDED:
            return Run(path.as_posix(), cells)
        status = RUNNING if RunFolder(path).is_locked() else cells["status"] or INTERRUPTED
        return Run(path.as_posix(), cells | {"status": status})


def _cache_file(root: Path) -> Path | None:
    """Where the index of a folder is; None for a user without a home."""
    cache = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return Path(cache, "lpss-runs", f"{name}.json") if os.path.isabs(cache) else None


def _load(file: Path | None) -> dict[str, list]:
    """An index; empty where there is none that is whole and of this version."""
    with suppress(OSError):
        head, _, body = file.read_bytes().partition(b"\n") if file else (b"", b"", b"")
        if head == _head(body):
            return json.loads(body)
    return {}


def _store(file: Path | None, known: dict[str, list]) -> None:
    body = json.dumps(known).encode()
    with suppress(LpssError):  # a cache that cannot be written is done without
        if file:
            write_atomically(file, lambda temporary: temporary.write_bytes(_head(body) + b"\n" + body))


def _head(body: bytes) -> bytes:
    return f"{VERSION} {zlib.crc32(body):08x}".encode()
