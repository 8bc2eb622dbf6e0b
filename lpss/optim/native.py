"""The CPU's fast path: kernel.c, compiled once by the machine's own C compiler, kept in a cache, called through ctypes.

It does the arithmetic of lpsgd.py's tensor code on float32 weights, equal up to float32 rounding, and several times as
fast. Where there is no compiler, or with LPSS_NATIVE=0 in the environment, the tensor code runs instead.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernel.c")
# Fast maths at compile time alone: at link time it would make the whole process flush denormal numbers to zero.
COMPILE = ["-c", "-O3", "-ffast-math", "-fPIC"]
ATTEMPTS = ((["-march=native"], ["-lmvec", "-lm"]), (["-march=native"], ["-lm"]), ([], ["-lm"]))
WHOLE = range(1, 17)  # exponents q - 1 that the kernel turns into products
SHARE = {
    True: 2**20,
    False: 2**15,
}  # weights a thread at least: with whole exponents memory, not arithmetic, is the limit

_long, _float, _int, _pointer = ctypes.c_long, ctypes.c_float, ctypes.c_int, ctypes.c_void_p
_SIGNATURES = {
    "lpsgdm_step": [_long, _long, *[_pointer] * 4, _float, _float, _int, _float, _float, _int, _pointer],
    "lpsgd_step": [_long, _long, *[_pointer] * 2, _float, _float, _float, _int, _pointer],
}


def usable(*tensors: Tensor, eta) -> bool:
    """Whether the kernel can move these tensors: contiguous float32 on the CPU, and eta a plain number."""
    return (
        isinstance(eta, (int, float))
        and all(x.is_cpu and x.dtype == torch.float32 and x.is_contiguous() for x in tensors)
        and not torch.compiler.is_compiling()
        and kernel() is not None
    )


def lpsgdm_step(
    weight: Tensor, v: Tensor, mu: Tensor, grad: Tensor, *, eta: float, gamma: float, nesterov: bool, p: float
) -> int:
    """Eqs (21)-(24) in place; returns how many neurons were left alone because their gradient holds NaN or inf."""
    return _by_rows(kernel().lpsgdm_step, (weight, v, mu, grad), (eta, gamma, int(nesterov)), p)


def lpsgd_step(weight: Tensor, grad: Tensor, *, eta: float, p: float) -> int:
    """Eqs (9)-(13) in place; returns as `lpsgdm_step`."""
    return _by_rows(kernel().lpsgd_step, (weight, grad), (eta,), p)


def _by_rows(function, tensors: tuple[Tensor, ...], numbers: tuple, p: float) -> int:
    """Call the kernel on the tensors' rows, a share a thread; ctypes releases Python's lock meanwhile."""
    rows, size, q = tensors[0].shape[0], tensors[0].numel(), p / (p - 1.0)
    d = size // rows
    whole = round(q - 1.0)
    if whole not in WHOLE or abs(q - 1.0 - whole) >= 1e-6:
        whole = 0
    pointers = [x.data_ptr() for x in tensors]

    def move(first: int, last: int) -> int:
        work = torch.empty(2 * d)
        return function(last - first, d, *[x + 4 * d * first for x in pointers], *numbers, p, q, whole, work.data_ptr())

    threads = min(torch.get_num_threads(), rows, size // SHARE[whole > 0])
    if threads < 2:
        skipped = move(0, rows)
    else:
        bounds = [rows * i // threads for i in range(threads + 1)]
        others = [_pool(os.getpid()).submit(move, *bounds[i : i + 2]) for i in range(1, threads)]
        skipped = move(*bounds[:2]) + sum(other.result() for other in others)
    torch.autograd.graph.increment_version(tensors[0])
    return skipped


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked child has none of its parent's."""
    return ThreadPoolExecutor(max_workers=os.cpu_count())


@cache
def kernel() -> ctypes.CDLL | None:
    """The compiled kernel, or None where it cannot be had."""
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
        path.unlink(missing_ok=True)  # a broken file is made anew next time
        log.info("the C kernel cannot be used (%s): LpSGD uses its slower tensor code on the CPU", error)
        return None


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lpss-native"


def _fingerprint(compiler: str) -> str:
    """Of all that the compiled code depends on: source, flags, compiler and, as homes are shared, processor."""
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
        thing, shared = f"{folder}/kernel.o", f"{folder}/kernel.so"
        for tuning, libraries in ATTEMPTS:
            try:
                for arguments in (
                    [*COMPILE, *tuning, str(SOURCE), "-o", thing],
                    ["-shared", thing, "-o", shared, *libraries],
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
    for name, arguments in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, _long
    return loaded
