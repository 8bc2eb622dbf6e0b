"""Runs one command after another, each in a fork of this process: imports and caches are shared, nothing else is.

Reads a case a line from stdin, answers with a line on stdout. A case (JSON): `argv`, the program's name first;
`cwd`; and, where wanted, `timeout`, `file_size` (bytes after which writing fails), `tmpfs` (a folder that becomes a
disk of 16 KiB), `unprivileged` (permissions hold for root, too), `unverified` (data files' checksums are not looked
at). The answer: `code`, negative for a signal, and `stderr`; or `impossible`, why the case cannot be tried here.
"""

import contextlib
import ctypes
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
CLONE_NEWNS = 0x20000
CAPABILITIES = 0x20080522, 0b110  # version 3; overriding permissions to write and to read


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    programs = warm()
    answers = os.fdopen(os.dup(1), "w")
    # A mount of ours is nobody else's.
    own = libc.unshare(CLONE_NEWNS) == 0 and subprocess.run(["mount", "--make-rprivate", "/"]).returncode == 0
    for line in sys.stdin:
        case = json.loads(line)
        with contextlib.ExitStack() as stack:
            if tmpfs := case.get("tmpfs"):
                if not own or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", tmpfs]).returncode:
                    print(json.dumps({"impossible": "no right to mount a tmpfs"}), file=answers, flush=True)
                    continue
                stack.callback(subprocess.run, ["umount", tmpfs], check=True)
            print(json.dumps(run(case, programs, libc)), file=answers, flush=True)


def warm() -> dict:
    """The programs; what they import and what does not depend on a case is there before the first fork."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    from lpss.cli import data, table, train
    from lpss.config import RunConfig
    from lpss.optim import native
    from lpss.report import figures  # noqa: F401
    from lpss.train import environment
    from lpss.train.run import run  # noqa: F401

    ConfigStore.instance().store(name="schema", node=RunConfig)
    with initialize_config_dir(train.config_path(), version_base="1.3"):
        compose("config", ["dataset=synthetic", "optimizer.p={0.5: 1.2}", "sphere.exclude=[head]"])
    GlobalHydra.instance().clear()
    environment.versions(), environment.git_commit(), native.kernel()
    from sklearn.datasets import load_digits

    load_digits()
    return {"lpss-train": train.main, "lpss-table": table.main, "lpss-data": data.main}


def run(case: dict, programs: dict, libc: ctypes.CDLL) -> dict:
    out, err = (os.memfd_create(name) for name in ("stdout", "stderr"))
    child = os.fork()
    if not child:
        os.dup2(out, 1), os.dup2(err, 2)
        code = 1
        try:
            confine(case, libc)
            sys.argv = case["argv"]
            code = programs[case["argv"][0]]() or 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + case.get("timeout", 30)
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            done = os.waitpid(child, 0)
            break
        time.sleep(0.003)
    texts = {}
    for name, file in (("stdout", out), ("stderr", err)):
        os.lseek(file, 0, os.SEEK_SET)
        with os.fdopen(file, "rb") as stream:
            texts[name] = stream.read().decode(errors="replace")
    return {"code": os.waitstatus_to_exitcode(done[1]), **texts}


def confine(case: dict, libc: ctypes.CDLL) -> None:
    """Apply what the case asks for to this process."""
    os.chdir(case["cwd"])
    for key, value in case.get("env", {}).items():
        os.environ[key] = value
    have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (have + MEMORY, have + MEMORY))
    if "file_size" in case:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["file_size"], case["file_size"]))
    if case.get("unprivileged"):
        version, overriding = CAPABILITIES
        header, sets = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()
        libc.capget(header, sets)
        sets[0] &= ~overriding  # of the effective ones
        libc.capset(header, sets)
    if case.get("unverified"):
        from lpss.data import store

        store.verify = lambda name, file, path: None


if __name__ == "__main__":
    main()
