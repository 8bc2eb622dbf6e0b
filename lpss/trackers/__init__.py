"""Experiment trackers: programs that show runs side by side. A new one is a file here and a yaml in conf/tracker/ (see
lpss/registry.py); it is a `Tracker`.
"""

from lpss.registries import TRACKERS
from lpss.trackers.base import TrackedRun, Tracker, flat
from lpss.trackers.choose import choose_trackers, complete_trackers
from lpss.trackers.trackers import Trackers

__all__ = ["TRACKERS", "TrackedRun", "Tracker", "Trackers", "choose_trackers", "complete_trackers", "flat"]
