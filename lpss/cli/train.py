"""lpss-train: compose a config, run it (or, with -m, every combination of a sweep; with --from, a run's own again)."""

import logging
import os
import sys
from collections import Counter
from concurrent.futures import BrokenExecutor
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import lpss
from lpss.cli import Interrupted, print_error, run_command
from lpss.cli.compose import config_folder, register_configs
from lpss.cli.members import list_members
from lpss.cli.overrides import hydra_arguments
from lpss.cli.repeat import repeat
from lpss.cli.search import check_search, objective, register_resolver
from lpss.cli.sweep import Workers, count, interruptible, note_status, status_file, stop_requested
from lpss.config import plain_config
from lpss.errors import LpssError, UsageError

PROGRAM = "lpss-train"
log = logging.getLogger("lpss")
TRACEBACKS = "HYDRA_FULL_ERROR" in os.environ  # Hydra's own switch


def job(config: DictConfig) -> float | list[float] | None:
    """One run; returns what a sweeper that searches is told of it (None for an interrupted one)."""
    logging.captureWarnings(True)
    value = None
    with interruptible():
        if not stop_requested():
            value = _train(config)
    return value


def _train(config: DictConfig) -> float | list[float]:
    try:
        settings = plain_config(config)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            check_search(settings, HydraConfig.get().sweeper)
        from lpss.train.run import run  # torch is imported only once a config has been composed and checked

        result = run(settings, bar=sys.stderr.isatty())
    except LpssError as error:
        note_status("failed")
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            _exit(error)
        log.error("%s: %s", " ".join(HydraConfig.get().overrides.task), error)
        raise  # the sweep goes on; Hydra raises it again at the end
    except Exception as error:
        note_status("failed")
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            if TRACEBACKS:
                raise
            _exit(LpssError(_unforeseen(error)))
        log.exception("%s: failed", " ".join(HydraConfig.get().overrides.task))
        # Neither a traceback nor every exception can be sent from a launcher's process.
        raise LpssError(f"{type(error).__name__}: {error}") from None
    note_status(result["status"])
    return objective(result, settings.search.objective)


def main() -> int:
    """Run the command line. Returns 0, 1 for a failure or where all runs diverged, 2 for a wrong command or config, 130
    for Ctrl-C."""
    return run_command(PROGRAM, lambda: _main(sys.argv[1:]))


def _main(argv: list[str]) -> int:
    if "--version" in argv:
        print(PROGRAM, lpss.__version__)
        return 0
    if argv[:1] == ["--list"]:
        return list_members(argv[1:])
    if argv[:1] == ["--from"]:
        return repeat(["rerun=always" if word == "--force" else word for word in argv[1:]])
    sys.argv[1:] = hydra_arguments(argv)
    with status_file() as file:
        try:
            _hydra(file)
        finally:
            counts = count(file)
            _say_what_became_of(counts)
    return 1 if counts["diverged"] and not counts["finished"] else 0


def _hydra(statuses: Path) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here, where they become one line
    register_configs(sys.argv[1:])
    register_resolver()
    try:
        with Workers(statuses):
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_one_line(error)) from None
    except LpssError:
        raise
    except BrokenExecutor:  # joblib's
        raise LpssError("a process of the sweep was killed (for its memory?); the same command continues it") from None
    except Exception as error:  # Hydra makes the output folder and reads files before any of our code runs
        if isinstance(error, OSError) and error.filename:
            raise LpssError(f"output: {error.filename} cannot be used: {error.strerror}") from None
        if isinstance(error, OSError) and error.errno:  # of a stream: run_command says so
            raise
        if TRACEBACKS:
            raise
        raise UsageError(f"{' '.join(sys.argv[1:])}: {_one_line(error) or type(error).__name__}") from None
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command continues from the last checkpoint") from None
    if "torch" in sys.modules:  # else nothing was run
        from lpss.train.distributed import leave_processes

        leave_processes()


def _say_what_became_of(counts: Counter) -> None:
    """A line for a sweep, and for a single run that diverged."""
    if os.environ.get("RANK", "0") != "0":  # torchrun: the first process speaks for all
        return
    if counts.total() > 1:
        parts = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
        print_error(PROGRAM, f"{counts.total()} runs: {parts}")
    elif counts["diverged"]:
        print_error(PROGRAM, "the run diverged")


def _exit(error: LpssError) -> None:
    print_error(PROGRAM, error)
    sys.exit(error.exit_code)


def _unforeseen(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error):
        return f"out of memory ({error}): make train.batch_size, the model or the data set smaller"
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 in the environment shows where)"


def _one_line(error: Exception) -> str:
    """Hydra's message without its line breaks; the cause where that says more (a wrong value's type, say)."""
    text = " ".join(str(error).split())
    cause = " ".join(str(error.__cause__).split("\n")[0].split()) if error.__cause__ is not None else ""
    override = getattr(error, "override", None)  # of a line that Hydra could not parse
    text = f"{override}: {text}" if override else text or " ".join(sys.argv[1:])
    return f"{text} ({cause})" if cause and cause not in text else text


if __name__ == "__main__":
    sys.exit(main())
