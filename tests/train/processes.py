"""Processes that share a run, as torchrun starts them, but forked from this one, which imports torch once for all.

Reads a request a line from stdin, answers with a line on stdout, both JSON. A request: `processes`, how many; `argv`,
of lpss-train; or `overrides` of one run, after which each process leaves its own weights and masks in `folder`, as
rank0.pt and so on. The answer: the `codes` with which they ended and what they `said` on stdout and stderr.
"""

import json
import os
import socket
import sys
import tempfile
import traceback

import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo  # noqa: F401

from lpss.cli import train as command
from lpss.cli.compose import compose_run
from lpss.registries import DATASETS, METHODS, MODELS, OPTIMIZERS, SCHEDULES
from lpss.train import run as run_module
from lpss.train.distributed import leave_processes


def main() -> None:
    compose_run([])  # this and what is imported late is here before the first fork
    for registry in (DATASETS, MODELS, OPTIMIZERS, METHODS, SCHEDULES):
        list(registry.values())
    for line in sys.stdin:
        request = json.loads(line)
        with socket.socket() as free, tempfile.TemporaryFile("w+") as said:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            free.close()
            children = [fork(request, rank, port, said) for rank in range(request["processes"])]
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            said.seek(0)
            print(json.dumps({"codes": codes, "said": said.read()}), flush=True)


def fork(request: dict, rank: int, port: int, said) -> int:
    """The number of the process that does its part of the request."""
    if child := os.fork():
        return child
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(request["processes"])}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "forks"}
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    code = 1
    try:
        if argv := request.get("argv"):
            sys.argv = argv
            code = command.main() or 0
        else:
            train(request["folder"], request["overrides"])
            code = 0
        leave_processes()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def train(folder: str, overrides: list[str]) -> None:
    class Session(run_module.Session):
        def result(self, status):
            state = {"net." + key: value for key, value in self.parts.net.state_dict().items()}
            state |= {"mask." + key: value for key, value in self.parts.method.masks.state_dict().items()}
            torch.save(state, f"{folder}/rank{self.processes.rank}.pt")
            return super().result(status)

    run_module.Session = Session
    run_module.run(compose_run(overrides))


if __name__ == "__main__":
    main()
