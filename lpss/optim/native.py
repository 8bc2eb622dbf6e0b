"""The CPU's fast path: kernel.c, compiled once by the machine's own C compiler, kept in a cache, called through ctypes.

It does the arithmetic of steps.py on float32 weights, equal up to float32 rounding, and several times as fast. Where
there is no compiler, or with LPSS_NATIVE=0 in the environment, the tensor code runs instead.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from lpss import sphere

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernel.c")
# Fast maths at compile time alone: at link time it would make the whole process flush denormal numbers to zero.
COMPILE = ["-c", "-O3", "-ffast-math", "-fPIC"]
# The threads are torch's own: OpenMP code linked without OpenMP finds the library that torch has loaded. A second pool
# would fight with the first, whose idle threads spin.
ATTEMPTS = (
    (["-march=native", "-fopenmp"], ["-lmvec", "-lm"]),
    (["-march=native"], ["-lmvec", "-lm"]),
    (["-march=native"], ["-lm"]),
    ([], ["-lm"]),
)
MAX_WHOLE = 16  # the largest exponent q - 1 that the kernel multiplies out
SHARE = 2**14  # weights per thread at least: with fewer, waking a thread costs more than its work

_long, _pointer = ctypes.c_long, ctypes.c_void_p


class _Step(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in ("eta", "gamma", "q", "p")] + [
        (name, ctypes.c_int) for name in ("nesterov", "whole", "momentum")
    ]


def usable(weight: Tensor, *others: Tensor) -> bool:
    """Whether the kernel can move this weight: float32 on the CPU, all in one memory order, neuron after neuron."""
    order = weight.stride()
    return (
        all(x.is_cpu and x.dtype == torch.float32 and x.stride() == order for x in (weight, *others))
        and (weight.is_contiguous() or weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last))
        and not torch.compiler.is_compiling()
        and kernel() is not None
    )


def step(pieces: list[tuple[Tensor, ...]], *, eta: float, p: float, gamma: float = 0.0, nesterov: bool = False) -> int:
    """Move weights in place in one call, shared between threads (ctypes releases Python's lock meanwhile).

    Args:
        pieces: (weight, v, mu, gradient) each for LpSGD-m, eqs (21)-(24), or (weight, gradient) each for LpSGD, eqs
            (9)-(13); all tensors must be `usable`.
        eta: in [0, 1].
        p: 1 < p < inf.
        gamma, nesterov: LpSGD-m's momentum.

    Returns how many neurons were left alone because their gradient holds NaN or inf.
    """
    momentum, q = len(pieces[0]) == 4, p / (p - 1.0)
    whole = sphere.whole_exponent(q - 1.0, maximum=MAX_WHOLE)
    table, size, widest = [], 0, 0
    for piece in pieces:
        weight, *state, grad = piece
        rows, numel = weight.shape[0], weight.numel()
        table += rows, numel // rows, weight.data_ptr(), *([x.data_ptr() for x in state] or (0, 0)), grad.data_ptr()
        size, widest = size + numel, max(widest, numel // rows)
    table = (ctypes.c_int64 * len(table))(*table)
    options = _Step(eta, gamma, q, p, nesterov, whole, momentum)

    threads = max(1, min(torch.get_num_threads(), size // SHARE))
    work = torch.empty(2 * widest * threads)
    skipped = kernel().sphere_step(table, len(pieces), size, ctypes.byref(options), work.data_ptr(), widest, threads)
    torch.autograd.graph.increment_version([piece[0] for piece in pieces])
    return skipped


@cache
def kernel() -> ctypes.CDLL | None:
    """The compiled kernel, or None without a working C compiler or with LPSS_NATIVE=0; compiles it where needed."""
    if os.environ.get("LPSS_NATIVE") == "0":
        return None
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("gcc", "cc", "clang")), None)
    if compiler is None:
        log.info("no C compiler: LpSGD uses its slower tensor code on the CPU")
        return None
    path = _home() / f"kernel-{_fingerprint(compiler)}.so"
    try:
        if not path.exists():
            _compile(compiler, path)
        return _load(path)
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        path.unlink(missing_ok=True)  # a broken file is built again next time
        log.info("the C kernel cannot be used (%s): LpSGD uses its slower tensor code on the CPU", error)
        return None


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lpss-native"


def _fingerprint(compiler: str) -> str:
    """A hash of all that the compiled code depends on: source, flags, compiler, and the processor, since machines may
    share a home directory."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        processor = platform.processor()
    facts = (SOURCE.read_text(), COMPILE, ATTEMPTS, compiler, platform.machine(), processor)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _compile(compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        object_file, shared = f"{folder}/kernel.o", f"{folder}/kernel.so"
        for tuning, libraries in ATTEMPTS:
            try:
                for arguments in (
                    [*COMPILE, *tuning, str(SOURCE), "-o", object_file],
                    ["-shared", object_file, "-o", shared, *libraries],
                ):
                    subprocess.run([compiler, *arguments], check=True, capture_output=True, timeout=120)
                _load(Path(shared))
            except (OSError, subprocess.SubprocessError) as error:
                last = error
                continue
            os.replace(shared, path)
            return
        raise last


def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    loaded.sphere_step.argtypes = [_pointer, _long, _long, _pointer, _pointer, _long, ctypes.c_int]
    loaded.sphere_step.restype = _long
    return loaded
