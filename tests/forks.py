"""Runs commands as `python ...` would, each in a fork of this process, which imports torch and the package once.

Reads a request a line from stdin: a list of commands that are to run at the same time, each with `argv` (a script or
-m and a module, then arguments), `cwd` and `environment` (in addition to this process's). Answers with a line on
stdout: for each its `code`, negative for a signal, `stdout` and `stderr`. Both are JSON.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import matplotlib.figure  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch._dynamo  # noqa: F401

import lpss.cli.progress
import lpss.cli.table
import lpss.train.run  # noqa: F401
from lpss.cli.compose import compose_run
from lpss.registries import DATASETS, METHODS, MODELS, OPTIMIZERS, SCHEDULES

STREAMS = ("stdout", "stderr")


def main() -> None:
    compose_run([])  # like the imports: all that is loaded late is here before the first fork
    for registry in (DATASETS, METHODS, MODELS, OPTIMIZERS, SCHEDULES):
        list(registry.values())
    for line in sys.stdin:
        print(json.dumps([ended(*one) for one in [started(command) for command in json.loads(line)]]), flush=True)


def started(command: dict) -> tuple[int, dict]:
    """The child's number and the files of its output."""
    files = {name: tempfile.TemporaryFile() for name in STREAMS}
    if child := os.fork():
        return child, files
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(STREAMS, 1):
        os.dup2(files[name].fileno(), number)
    code = 1
    try:
        run(command)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def run(command: dict) -> None:
    os.chdir(command["cwd"])
    os.environ.update(command["environment"])
    warnings.filterwarnings("ignore", message=".*found in sys.modules")  # the module that is to run
    program, *arguments = command["argv"]
    if program == "-m":
        name, *arguments = arguments
        sys.path.insert(0, command["cwd"])
        sys.argv = [name, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(program).parent))
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")


def ended(child: int, files: dict) -> dict:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for file in files.values():
        file.seek(0)
    return {"code": code} | {name: file.read().decode() for name, file in files.items()}


if __name__ == "__main__":
    main()
