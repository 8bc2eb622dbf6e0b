"""Shared by all tests: one thread a process, a run's config as lpss-train composes it, and where the real data are."""

import os

# A thread each for pytest-xdist's workers and for the commands that tests start: more would fight for the same cores.
os.environ["OMP_NUM_THREADS"] = "1"

import copy
from functools import cache
from pathlib import Path

import pytest

from lpss.cli.compose import compose_run
from lpss.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[1]


@cache
def _composed(overrides: tuple[str, ...]) -> RunConfig:
    return compose_run(overrides)


@pytest.fixture
def composed(tmp_path):
    """composed("dataset=letter", ...) -> the RunConfig that lpss-train would run, with its output in tmp_path."""

    def build(*overrides: str) -> RunConfig:
        config = copy.deepcopy(_composed(tuple(one for one in overrides if not one.startswith("output="))))
        (*_, config.output) = (str(tmp_path / "outputs"), *(one[7:] for one in overrides if one.startswith("output=")))
        return config

    return build


@pytest.fixture(scope="session")
def real_uci() -> Path:
    """A data root with the real UCI sets; skips where this machine has none."""
    places = [os.environ.get("LPSS_DATA"), REPOSITORY.parent / "shared" / "data", Path("~/.cache/lpss").expanduser()]
    for place in places:
        if place and (Path(place) / "uci" / "letter").is_dir():
            return Path(place)
    pytest.skip("no real data: set LPSS_DATA to a folder with uci/ (see `lpss-data`)")


LONGEST = ("fuzz", "cli", "scripts", "train")  # folders whose tests start processes


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The longest tests first, so that no worker of pytest-xdist is left alone with one in the end. Tests marked `gpu`
    are skipped where there is no CUDA device."""
    items.sort(key=lambda item: LONGEST.index(name) if (name := item.path.parent.name) in LONGEST else len(LONGEST))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
