"""Runs one command after another, each in a fork of this process: imports and caches are shared, nothing else is.

Reads a case a line from stdin, answers with a line on stdout, both JSON. A case: `argv`, the program's name first (one
of `programs`); `cwd`; and, where wanted, `environment`; `file_size`, bytes at which writing fails; `tmpfs`, a folder
that is to be a disk of 64 KiB; `unprivileged`, so that permissions hold for root, too; `unverified`, so that nobody
looks at the checksums of data files. The answer: `code`, negative for a signal, `stdout`, `stderr` and `on_disk`, the
run.json files on the tmpfs; or `impossible`, why it cannot be tried here.
"""

import ctypes
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

MEMORY = 2 * 2**30  # bytes that a case may take beyond what it starts with
SECONDS = 60
NEW_MOUNTS = 0x20000  # CLONE_NEWNS
CAPABILITIES, OVERRIDING = 0x20080522, 0b110  # of version 3: writing and reading what permissions forbid


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    every = programs()
    gc.freeze()  # else the garbage collector of every fork copies all that memory
    libc = ctypes.CDLL(None)
    mounts = hasattr(libc, "unshare") and libc.unshare(NEW_MOUNTS) == 0
    mounts = mounts and subprocess.call(["mount", "--make-rprivate", "/"]) == 0
    for line in sys.stdin:
        case = json.loads(line)
        disk = str(Path(case["cwd"], case["tmpfs"])) if "tmpfs" in case else None
        if disk and not (mounts and not subprocess.call(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk])):
            answer = {"impossible": "no right to mount a tmpfs"}
        elif "unprivileged" in case and os.geteuid() == 0 and not hasattr(libc, "capset"):
            answer = {"impossible": "root here, and no capset to have fewer rights"}
        else:
            answer = run(case, every, libc) | {"on_disk": []}
        if disk and "code" in answer:
            answer["on_disk"] = [path.read_text() for path in Path(disk).rglob("run.json")]
            subprocess.check_call(["umount", disk])
        print(json.dumps(answer), file=answers, flush=True)


def programs() -> dict:
    """Name -> main function. What they import, and what no case changes, is here before the first fork."""
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra

    from lpss.cli import data, run_command, table, train
    from lpss.cli.compose import compose_run
    from lpss.data import DATASETS, load
    from lpss.data.unpack import unpack, unpack_tree
    from lpss.models import build_model
    from lpss.native import loader
    from lpss.report import figures  # noqa: F401
    from lpss.train import environment, run  # noqa: F401
    from lpss.train.weights import load_weights

    compose_run(["dataset=synthetic", "optimizer.p={0.5: 1.2}", "sphere.exclude=[head]"])
    GlobalHydra.instance().clear()
    Hydra.get_mode = lambda *arguments, **named: None  # composes all once more, only to look for hydra.mode
    environment.versions(), environment.git_commit(), loader.library()

    def library(call):
        """A program out of a function: of what it raises, an LpssError is one line and all else a traceback."""
        return lambda: run_command("call", lambda: call(*sys.argv[1:]) and None)

    net = build_model({"name": "mlp", "hidden": [4]}, (3,), 2)
    return {
        "lpss-train": train.main,
        "lpss-table": table.main,
        "lpss-data": data.main,
        "load": library(lambda name, *folder: load(DATASETS[name].Config(name, {}, {}, *folder), "data", False)),
        "unpack": library(lambda packed: unpack(Path(packed), {"a.data": 99, "b.data": 99}, Path("out"))),
        "unpack_tree": library(lambda packed: unpack_tree(Path(packed), Path("out"), 99)),
        "load_weights": library(lambda path: load_weights(path, net)),
    }


def run(case: dict, every: dict, libc: ctypes.CDLL) -> dict:
    """Run the case in a fork, to its end or to its time limit."""
    streams = {name: os.memfd_create(name) for name in ("stdout", "stderr")}
    child = os.fork()
    if not child:
        for number, stream in enumerate(streams.values(), 1):
            os.dup2(stream, number)
        code = 1
        try:
            confine(case, libc)
            sys.argv = case["argv"]
            code = every[case["argv"][0]]() or 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + SECONDS
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.002)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
    answer = {"code": os.waitstatus_to_exitcode(done[1])}
    for name, stream in streams.items():
        os.lseek(stream, 0, os.SEEK_SET)
        with os.fdopen(stream, "rb") as file:
            answer[name] = file.read().decode(errors="backslashreplace")
    return answer


def confine(case: dict, libc: ctypes.CDLL) -> None:
    """Put this process where the case wants it."""
    os.chdir(case["cwd"])
    os.environ.update(case.get("environment", {}))
    memory = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if size := case.get("file_size"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if case.get("unprivileged") and os.geteuid() == 0:
        header, sets = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
        libc.capget(header, sets)
        sets[0] &= ~OVERRIDING  # the effective ones
        libc.capset(header, sets)
    if case.get("unverified"):
        from lpss.data import store

        store.verify = lambda name, file, path: None


if __name__ == "__main__":
    main()
