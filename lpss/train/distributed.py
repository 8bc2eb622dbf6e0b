"""One run shared by several processes that torchrun started: each takes its part of every batch.

Gradients are averaged before the method sees them, and random choices are drawn from the same seed, so every process
holds the same weights and masks at every step. The first process alone writes files.
"""

import atexit
import logging
import os
import sys
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lpss.errors import UsageError


class Processes:
    """The processes of a run; a single one by default."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0

    def check_batch(self, batch_size: int) -> None:
        """Raises UsageError for a batch that cannot be shared evenly."""
        if batch_size % self.size:
            raise UsageError(
                f"train.batch_size={batch_size} cannot be shared by {self.size} processes: choose a multiple"
            )

    def wrap(self, net: nn.Module) -> nn.Module | None:
        """A model whose backward pass averages gradients over processes; None where there is one process.

        On GPUs BatchNorm must have been made synchronous before (`synchronous_norms`).
        """
        if self.size == 1:
            return None
        device = next(net.parameters()).device
        return DistributedDataParallel(net, device_ids=[device] if device.type == "cuda" else None)

    def synchronous_norms(self, net: nn.Module, device: torch.device) -> nn.Module:
        """BatchNorm over the whole batch, as with one process. torch has it for GPUs; on CPUs each process normalises
        its own part."""
        return nn.SyncBatchNorm.convert_sync_batchnorm(net) if self.size > 1 and device.type == "cuda" else net

    @torch.no_grad()
    def same_buffers(self, net: nn.Module) -> None:
        """The first process's running statistics for all, to evaluate with."""
        if self.size > 1:
            for buffer in net.buffers():
                dist.broadcast(buffer, 0)

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def broadcast_object(self, value: Any) -> Any:
        """The first process's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    @contextmanager
    def main_process_first(self):
        """For what one process should fetch or make, and the others then find."""
        if self.size > 1 and not self.is_main:
            dist.barrier()
        yield
        if self.size > 1 and self.is_main:
            dist.barrier()


SINGLE_PROCESS = Processes()


def join_processes() -> Processes:
    """The processes that torchrun started with this one, or this one alone."""
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return SINGLE_PROCESS
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(dist.destroy_process_group)
    return Processes(dist.get_rank(), dist.get_world_size())


def leave_processes() -> None:
    """End this process, its work done, if it shares runs with others; else do nothing.

    Not through the interpreter's end: gloo's threads, which DistributedDataParallel never lets go of, may still drop
    the last tensors then, and abort the process (pytorch/pytorch#179291).
    """
    if dist.is_available() and dist.is_initialized():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
