"""The folders of runs below a folder, and what one of them says of its run, whether it has ended or not."""

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd
import yaml

from lpss.errors import LpssError, reason
from lpss.record import RunFolder, described
from lpss.report.collect import UNREADABLE, read_run, row_of
from lpss.runs.run import Cell

log = logging.getLogger(__name__)
NAME = re.compile(r"seed\d+-([0-9a-f]{12})")  # how lpss/train/resolve.py names the folder of a run
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


def scan(root: Path) -> Iterator[tuple[str, list]]:
    """The folders at or below `root` that may hold a run, relative to it, each with the marks of run.json and
    config.yaml: times (ns), size and inode, or None.

    Links to folders are not followed. A folder that cannot be read is skipped, with a logged warning that names it.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = {entry.name: entry for entry in entries}
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # which was deleted just now
                log.warning("skipped %s: %s", root / folder, error.strerror)
            continue
        prefix = f"{folder}/" if folder else ""
        waiting += [prefix + name for name, entry in found.items() if entry.is_dir(follow_symlinks=False)]
        name = folder.rpartition("/")[2] or root.resolve().name
        if "run.json" in found or "config.yaml" in found and NAME.fullmatch(name):
            yield folder, [_mark(found.get(name)) for name in ("run.json", "config.yaml")]


def _mark(file: os.DirEntry | None) -> list[int] | None:
    """What changes whenever the file does; None where it is not there."""
    with suppress(OSError):
        if file is not None:
            facts = file.stat()
            return [facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino]
    return None


def read(folder: Path) -> dict[str, Cell] | None:
    """The cells of the folder's run, from its record or, before it has one, from its config; None where it has no run.

    `status` is None for a run that has not ended. A run.json that cannot be read as a record is named in a warning; its
    run has not ended, unless the record is of another version.
    """
    try:
        return plain(read_run(folder / "run.json"))
    except FileNotFoundError:
        return _begun(folder)
    except UNREADABLE as error:
        log.warning("%s is no record of a run: %s", folder / "run.json", reason(error))
    with suppress(LpssError):
        return _begun(folder) if RunFolder(folder).result() is None else None


def _begun(folder: Path) -> dict[str, Cell] | None:
    """The cells of a run that has no record yet."""
    name = NAME.fullmatch(folder.resolve().name)
    try:
        config = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), Loader)
        cells = row_of(described(config) | {"config": config, "config_hash": name and name[1]})
    except FileNotFoundError:
        return None
    except (*UNREADABLE, LookupError, yaml.YAMLError) as error:
        log.warning("skipped %s: %s", folder / "config.yaml", reason(error))
        return None
    return plain(cells) if name else None


def plain(row: Mapping) -> dict[str, Cell]:
    """A row as `lpss.report.collect` has it, with None for what is missing."""
    return {name: None if _is_missing(cell) else cell for name, cell in row.items() if name != "folder"}


def _is_missing(cell) -> bool:
    return cell is pd.NA or cell == "" or isinstance(cell, float) and not math.isfinite(cell)
