"""What a run's config says of trackers, as trackers."""

from pathlib import Path

from lpss.trackers import TrackedRun, Trackers, choose_trackers, flat
from lpss.train.distributed import Processes
from lpss.train.resolve import ResolvedRun


def trackers_of(run: ResolvedRun, processes: Processes) -> Trackers:
    """The run's trackers, none of them started; only the main process has any. Raises LpssError where the package of
    one is not installed."""
    config, chosen = run.config, choose_trackers(run.config.tracker)
    names = (config.experiment_name, config.dataset_title, config.model["name"])
    tracked = TrackedRun(
        folder=run.folder,
        output=Path(config.output),
        hash=run.hash,
        label=run.label,
        group="/".join(filter(None, names)),
        config=flat(config.to_dict()),
    )
    return Trackers(chosen if processes.is_main else {}, tracked)
