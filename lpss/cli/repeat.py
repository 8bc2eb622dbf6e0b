"""lpss-train --from RUN.json [KEY=VALUE ...]: run a run's settings again, and say whether the result is the same."""

import json
import logging
import os
import sys
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lpss.config import plain_config
from lpss.errors import UsageError
from lpss.record import changes

RESULTS = ("status", "accuracy_last", "accuracy_best", "loss_last", "sparsity_weights", "active_weights", "steps")
OUTPUT = "outputs/again"  # not the run's own, where it would be skipped as finished


def repeat(arguments: list[str]) -> int:
    """Run it; 0 if every number is the same, else 1. Raises UsageError for a wrong file or override."""
    if not arguments or any("=" not in argument for argument in arguments[1:]):
        raise UsageError("--from needs a run.json, then KEY=VALUE overrides: lpss-train --from RUN.json output=again")
    path = Path(arguments[0])
    earlier = _read(path)
    try:
        values = OmegaConf.merge({**earlier["config"], "output": OUTPUT}, OmegaConf.from_dotlist(arguments[1:]))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise UsageError(f"{' '.join(arguments[1:])}: {str(error).splitlines()[0]}") from None
    values["output"] = os.path.expanduser(str(values["output"]))
    config = plain_config(values)
    from lpss.train.run import run  # torch is imported only once the config has been checked

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = run(config, bar=sys.stderr.isatty())
    return _compare(earlier, result)


def _read(path: Path) -> dict:
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(earlier["config"], dict):
            return earlier
    except OSError as error:
        raise UsageError(f"--from {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UsageError(f"--from {path}: not the run.json of a run (it has no config)")


def _compare(earlier: dict, result: dict) -> int:
    changed = [key for key in RESULTS if not _same(earlier.get(key), result.get(key))]
    if not changed:
        print(f"the same result: accuracy {result['accuracy_last']}, loss {result['loss_last']}")
        return 0
    print("a different result: " + ", ".join(f"{key} {earlier.get(key)} -> {result.get(key)}" for key in changed))
    moved = changes(earlier, result)
    if earlier.get("config_hash") != result["config_hash"]:
        moved.append(f"config_hash {earlier.get('config_hash')} -> {result['config_hash']}")
    print("what else changed: " + (", ".join(moved) or "nothing that is recorded"))
    return 1


def _same(earlier, now) -> bool:
    return earlier == now or (earlier is None and now != now)  # JSON has no NaN
