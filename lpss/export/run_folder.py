"""A finished run's folder as a net."""

from pathlib import Path

from lpss.config import plain_config
from lpss.errors import DataError, LpssError, UsageError
from lpss.export import safetensors_file
from lpss.export.contents import Contents
from lpss.record import FINISHED, WEIGHTS, RunFolder
from lpss.train import sealed
from lpss.train.build import load_data
from lpss.train.description import Description
from lpss.train.resolve import import_plugins, resolve
from lpss.train.weights import unpack, with_plain_zeros


def read(folder: Path) -> Contents:
    """What the run has trained. Raises UsageError for a folder of something else or of a run that has not finished,
    DataError for damaged files, and for a run of before its weights said what its net is, where its data are gone.
    """
    run = RunFolder(folder)
    result = run.result()
    if result is None:
        raise UsageError(f"{folder} {_what_it_is(folder)}")
    if result["status"] != FINISHED:
        raise UsageError(f"{folder}: the run has {result['status']}, only a finished one leaves a net")
    if damage := [line for line in run.damage(result) if line.startswith(WEIGHTS)]:
        raise DataError(f"{folder}: {damage[0]}")
    import_plugins((result.get("config") or {}).get("plugins") or [])
    return safetensors_file.read(folder / WEIGHTS) or older(folder / WEIGHTS)


def _what_it_is(folder: Path) -> str:
    """A folder without a record that can be read."""
    if (folder / "run.json").exists():
        return "holds a run.json that is no run's record"
    if (folder / "config.yaml").exists():
        return "holds a run that has not finished: the same lpss-train command goes on with it"
    return "is not a run's folder: it holds no run.json"


def older(path: Path) -> Contents:
    """A run's weights of before they said what their net is: the run's config and its data set say it.

    Raises DataError where one of them is not there.
    """
    result = RunFolder(path.parent).result()
    try:
        if result is None:
            raise UsageError("there is no run.json beside it")
        run = resolve(plain_config(result.get("config") or {}))
        description = Description.of(run.config, load_data(run, download=False))
    except LpssError as error:
        raise DataError(f"{path} is of before weights said what their net is, and {error}") from None
    state, masks = unpack(sealed.read(path)[0])
    return Contents(with_plain_zeros(state, masks), masks, description, str(path))
