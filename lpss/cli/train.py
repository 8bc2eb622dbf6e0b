"""lpss-train: compose a config, run it (or, with -m, every combination of a sweep; with --from, a run's own again)."""

import logging
import os
import sys
from concurrent.futures import BrokenExecutor

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lpss.cli import run_command
from lpss.cli.compose import config_folder, register_configs
from lpss.cli.repeat import repeat
from lpss.config import plain_config
from lpss.errors import LpssError, UsageError

log = logging.getLogger("lpss")
TRACEBACKS = "HYDRA_FULL_ERROR" in os.environ  # Hydra's own switch


def job(config: DictConfig) -> float | None:
    """One run; returns its last accuracy, which sweepers such as Optuna maximise."""
    logging.captureWarnings(True)
    try:
        settings = plain_config(config)
        from lpss.train.run import run  # torch is imported only once a config has been composed and checked

        result = run(settings, bar=sys.stderr.isatty())
    except LpssError as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            _exit(error)
        log.error("%s: %s", " ".join(HydraConfig.get().overrides.task), error)
        raise  # the sweep goes on; Hydra raises it again at the end
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            if TRACEBACKS:
                raise
            _exit(LpssError(_unforeseen(error)))
        log.exception("%s: failed", " ".join(HydraConfig.get().overrides.task))
        # Neither a traceback nor every exception can be sent from a launcher's process.
        raise LpssError(f"{type(error).__name__}: {error}") from None
    return result["accuracy_last"]


def main() -> None:
    """Entry point. Exit codes: 0, 1 for a failure, 2 for a wrong command or config, 130 for Ctrl-C."""
    if sys.argv[1:2] == ["--from"]:
        sys.exit(run_command("lpss-train", lambda: repeat(sys.argv[2:])))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here, where they become one line
    register_configs()
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        _exit(UsageError(_one_line(error)))
    except LpssError as error:
        _exit(error)
    except BrokenExecutor:  # joblib's
        _exit(LpssError("a process of the sweep was killed (for its memory?); the same command goes on"))
    except Exception as error:  # Hydra makes the output folder and reads files before any of our code runs
        if isinstance(error, OSError) and error.filename:
            _exit(LpssError(f"output: {error.filename} cannot be used: {error.strerror}"))
        if TRACEBACKS:
            raise
        _exit(UsageError(f"{' '.join(sys.argv[1:])}: {_one_line(error) or type(error).__name__}"))
    except KeyboardInterrupt:
        print("lpss-train: interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    if "torch" in sys.modules:  # else nothing was run
        from lpss.train.distributed import leave_processes

        leave_processes()


def _exit(error: LpssError) -> None:
    print("lpss-train:", " ".join(str(error).split()), file=sys.stderr)
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
    main()
