"""Facts about where a run happens: device, versions, commit, memory."""

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

import torch

import lpss
from lpss.errors import UsageError


def choose_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one, of several that which torchrun means for this process.

    Raises UsageError for a device this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.zeros(1, device=device).item()  # which the meta device cannot do
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device={name} cannot be used here: {str(error).splitlines()[0]}") from None
    return device


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory(device: torch.device) -> int:
    """Bytes: the device's peak since `reset_peak_memory`, or on the CPU the process's peak so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory(device: torch.device) -> None:
    """Start the GPU's peak anew; the CPU's cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


@cache
def versions() -> dict[str, str]:
    """Of lpss, Python and what the numbers depend on."""
    import numpy
    import torchvision

    return {
        "lpss": lpss.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
    }


@cache
def git_commit() -> str | None:
    """The checkout's commit, with -dirty where files differ from it; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:

        def git(*args: str) -> str:
            return subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True).stdout

        return git("rev-parse", "HEAD").strip() + ("-dirty" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None
