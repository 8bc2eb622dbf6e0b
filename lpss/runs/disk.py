"""What runs take on the disk: by what was run, by kind of file, and what could be freed."""

import logging
from collections import defaultdict
from collections.abc import Sequence

from lpss.files import size_text
from lpss.record import DIVERGED, FAILED, INTERRUPTED
from lpss.runs.contents import File, files_of
from lpss.runs.run import Run
from lpss.runs.text import aligned, short

log = logging.getLogger(__name__)
GROUP = ("experiment", "dataset", "method")
UNFINISHED = (FAILED, DIVERGED, INTERRUPTED)


def disk(runs: Sequence[Run]) -> str:
    """Three tables of runs or files and bytes, the largest first; the third only where something could be freed."""
    files = {run: _files(run) for run in runs}
    by_group, by_kind, by_status = (defaultdict(list) for _ in range(3))
    for run, found in files.items():
        by_group[tuple(short(run.get(name)) for name in GROUP)].append(found)
        by_status[run.status].append(found)
        for file in found:
            by_kind[file.kind].append([file])
    everything = list(files.values())
    groups = [(*group, *_sums(lists)) for group, lists in _largest_first(by_group)]
    total = ("all", *[""] * (len(GROUP) - 1), *_sums(everything))
    kinds = [(kind, *_sums(lists)) for kind, lists in _largest_first(by_kind)]
    freed = [(status, *_sums(by_status[status])) for status in UNFINISHED if by_status[status]]
    tables = [
        aligned((*GROUP, "runs", "bytes"), [*groups, total], left=GROUP),
        aligned(("kind of file", "files", "bytes"), kinds, left=("kind of file",)),
        aligned(("could be freed", "runs", "bytes"), freed, left=("could be freed",)),
    ]
    return "\n".join(filter(None, tables))


def _files(run: Run) -> list[File]:
    try:
        return files_of(run.folder)
    except OSError as error:
        log.warning("skipped %s: %s", run.folder, error.strerror)
        return []


def _sums(lists: Sequence[Sequence[File]]) -> tuple[str, str]:
    """How many, and the bytes of all their files."""
    return str(len(lists)), size_text(sum(file.size for files in lists for file in files))


def _largest_first(groups: dict) -> list:
    return sorted(groups.items(), key=lambda item: -sum(file.size for files in item[1] for file in files))
