"""Paths, as a command is given them, -> runs: those of folders and of results.csv files, or the one that is meant."""

import os
from collections.abc import Sequence
from pathlib import Path

from lpss.errors import UsageError
from lpss.report.collect import collect
from lpss.runs.folders import plain
from lpss.runs.index import Index
from lpss.runs.run import Run


class Places:
    """Folders that hold runs at any depth, run.json files, and results.csv files (of runs whose folders are gone).

    Raises UsageError for a path that does not exist or is something else, where `only_folders` will do also for a csv.
    """

    def __init__(self, paths: Sequence[str], only_folders: bool = False):
        self.roots, self.tables = [], []
        for path in map(os.path.expanduser, paths):
            path = Path(path)
            if not os.path.exists(path):  # also False for a name that no file can have
                raise UsageError(f"{path}: no such file or folder")
            if path.is_dir() or path.name == "run.json":
                self.roots.append(path if path.is_dir() else path.parent)
            elif path.suffix == ".csv" and not only_folders:
                self.tables.append(path)
            else:
                raise UsageError(f"{path} is no folder that holds runs{'' if only_folders else ', and no results.csv'}")
        self.indices = [Index(root) for root in self.roots]

    def runs(self) -> list[Run]:
        """The runs as they are now, each once, those of folders first."""
        found = [run for index in self.indices for run in index.runs()]
        for table in self.tables:
            found += [Run(row["folder"], plain(row)) for row in collect(table).to_dict("records")]
        if len(self.roots) + len(self.tables) == 1:
            return found
        return list({os.path.realpath(run.folder): run for run in reversed(found)}.values())[::-1]


def find_run(word: str, paths: Sequence[str]) -> Run:
    """The run that `word` names: by its folder or run.json or, among the runs in `paths`, by the start of its hash.

    Raises UsageError where there is none, or several.
    """
    if os.path.exists(path := os.path.expanduser(word)) and not path.endswith(".csv"):
        places, where = Places([path]), f"in {word}"
        below = places.runs()
        found = [run for run in below if run.folder == places.roots[0].as_posix()] or below
    else:
        found = [run for run in Places(paths).runs() if str(run.cells["config_hash"] or "").startswith(word)]
        where = f"with a hash that begins so, in {', '.join(map(str, paths))}"
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"{word}: no run {where}")
    few = ", ".join(run.folder for run in found[:3])
    raise UsageError(f"{word}: {len(found)} runs {where} ({few}{', ...' if len(found) > 3 else ''}): name one")
