"""Which files of a folder are its run's, what each is, and how many bytes they take."""

import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from lpss.record import BEST, LEFTOVERS, WEIGHTS

KINDS = {
    "run.json": "records",
    "config.yaml": "records",
    "run.previous.json": "records",
    "data.json": "records",
    "trackers.json": "records",
    "metrics.csv": "metrics",
    "layers.csv": "metrics",
    "run.log": "logs",
    WEIGHTS: "weights",
    BEST: "weights",
    "checkpoint.pt": "checkpoints",
    "net.*": "exports",  # of lpss-export
    LEFTOVERS: "leftovers",
    ".lock": "locks",
}
TRACKERS = ("tensorboard", "wandb")  # folders, with all that is in them (lpss/trackers)


@dataclass(frozen=True)
class File:
    """A file of a run; kind: a value of `KINDS`."""

    path: Path
    kind: str
    size: int


def files_of(folder: str | Path) -> list[File]:
    """The run's own files, run.json first and the lock last. Raises OSError where the folder cannot be read.

    What has another name, and every folder but those of trackers, is somebody else's.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            pattern = next((pattern for pattern in KINDS if fnmatch(entry.name, pattern)), None)
            if pattern and not entry.is_dir(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                found.append((list(KINDS).index(pattern), File(Path(entry.path), KINDS[pattern], size)))
    for path in (path for tracker in TRACKERS for path in tracker_files(Path(folder, tracker))):
        found.append((list(KINDS).index(LEFTOVERS), File(path, "trackers", path.lstat().st_size)))
    return [file for _, file in sorted(found, key=lambda pair: (pair[0], pair[1].path.name))]


def tracker_files(folder: Path) -> list[Path]:
    """Files and links in a tracker's folder and its folders; nothing where it is a link or is not there."""
    if folder.is_symlink():
        return []
    found = [Path(where, name) for where, folders, files in os.walk(folder) for name in (*folders, *files)]
    return [path for path in found if path.is_symlink() or not path.is_dir()]


def size_of(folder: str | Path) -> int:
    """Bytes of the run's own files; 0 where the folder cannot be read."""
    try:
        return sum(file.size for file in files_of(folder))
    except OSError:
        return 0
