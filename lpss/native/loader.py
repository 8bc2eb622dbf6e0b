"""The C code as a library: compiled once by the machine's own C compiler, kept in a cache, called through ctypes.

Where there is no compiler, or with LPSS_NATIVE=0 in the environment, tensor code runs instead.
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

import torch  # noqa: F401  (brings the OpenMP library that the code is to find, see below)

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCES = ("sphere.c", "pattern.c", "sparse.c", "layout.c", "channels_last.c")
HEADERS = ("vectors.h", "norm.h")
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

_long, _int, _float, _pointer = ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_void_p
# Function -> (result, arguments), as in the sources.
SIGNATURES = {
    "sphere_step": (ctypes.c_long, [_pointer, _long, _long, _pointer, _pointer, _long, _int]),
    "find_active": (None, [_pointer] + [_long] * 3 + [_pointer] * 4),
    "transposed_order": (None, [_pointer] * 3 + [_long] * 3 + [_pointer] * 3),
    "gather": (None, [_pointer] * 3 + [_long]),
    "scatter": (None, [_pointer] * 3 + [_long]),
    "sparse_product": (None, [_pointer] * 5 + [_long] * 3 + [_int]),
    "sparse_gradient": (None, [_pointer] * 4 + [_long] * 3 + [_int]),
    "norm_forward": (None, [_pointer, _float, _pointer, _pointer, _int]),
    "norm_backward": (None, [_pointer, _pointer, _long, _pointer, _int]),
    "rows_norm_forward": (None, [_pointer, _float, _pointer, _int]),
    "rows_norm_backward": (None, [_pointer] * 5 + [_int]),
    "sum_channels": (None, [_pointer, _pointer] + [_long] * 4 + [_int]),
    "transpose": (None, [_pointer, _pointer] + [_long] * 7 + [_int]),
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code, or None without a working C compiler or with LPSS_NATIVE=0; compiles it where needed."""
    if os.environ.get("LPSS_NATIVE") == "0":
        return None
    chosen = compiler()
    if chosen is None:
        log.info("no C compiler: slower tensor code is used on the CPU")
        return None
    path = cache_folder() / f"native-{fingerprint(chosen)}.so"
    try:
        if not path.exists():
            _compile(chosen, path)
        return _load(path)
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        path.unlink(missing_ok=True)  # a broken file is built again next time
        log.info("the C code cannot be used (%s): slower tensor code is used on the CPU", error)
        return None


def compiler() -> str | None:
    """The C compiler that is used: $CC, or the first of gcc, cc, clang that is there."""
    return os.environ.get("CC") or next(filter(shutil.which, ("gcc", "cc", "clang")), None)


def identity() -> str:
    """Which code runs on which kind of processor."""
    return "tensor code" if library() is None else fingerprint(compiler())


def cache_folder() -> Path:
    """Where compiled code and measurements are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lpss-native"


def fingerprint(compiler: str) -> str:
    """A hash of all that the compiled code depends on: sources, flags, compiler, and the processor, since machines may
    share a home directory."""
    texts = [(FOLDER / name).read_text() for name in SOURCES + HEADERS]
    facts = (texts, COMPILE, ATTEMPTS, compiler, platform.machine(), processor())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def processor() -> str:
    """What the processor can do, as words, where the system tells; else its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


def _compile(compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        shared = f"{folder}/native.so"
        for tuning, libraries in ATTEMPTS:
            try:
                objects = []
                for name in SOURCES:
                    objects.append(f"{folder}/{name}.o")
                    _run(compiler, *COMPILE, *tuning, str(FOLDER / name), "-o", objects[-1])
                _run(compiler, "-shared", *objects, "-o", shared, *libraries)
                _load(Path(shared))
            except (OSError, subprocess.SubprocessError) as error:
                last = error
                continue
            os.replace(shared, path)
            return
        raise last


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
