"""How the C code is built and cached, and what happens without it."""

import os
import shutil
import subprocess
import sys

import pytest

from lpss.native import loader


@pytest.fixture(autouse=True)
def buildable():
    if loader.library() is None:
        pytest.skip("no C compiler here: the C code cannot be built")


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A fresh start: nothing loaded, an empty cache, and a compiler that does not take ten seconds to optimize."""
    hasty, compiler = (
        tmp_path / "cc",
        os.environ.get("CC") or next(filter(None, map(shutil.which, ("gcc", "cc", "clang")))),
    )
    hasty.write_text(f'#!/bin/sh\nexec {compiler} "$@" -O0\n')
    hasty.chmod(0o755)
    monkeypatch.setenv("CC", str(hasty))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    loader.library.cache_clear()
    yield tmp_path / "lpss-native"
    loader.library.cache_clear()


def test_it_is_compiled_once_and_kept(compiled):
    assert loader.library() is not None
    (kept,) = compiled.iterdir()
    assert kept.suffix == ".so"
    before = kept.stat().st_mtime_ns
    loader.library.cache_clear()
    assert loader.library() is not None and kept.stat().st_mtime_ns == before


def test_a_broken_cached_file_is_replaced_by_tensor_code_and_then_built_again(compiled):
    assert loader.library() is not None
    (kept,) = compiled.iterdir()
    kept.unlink()  # not written to: it is loaded
    kept.write_bytes(b"not a library")
    # In a process of its own: a loaded library stays loaded.
    code = (
        "from lpss.native import loader; print(loader.library() is not None);"
        "loader.library.cache_clear(); print(loader.library() is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\nTrue\n"


def test_without_a_compiler_or_when_switched_off(compiled, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setenv("LPSS_NATIVE", "0")
    assert loader.library() is None
    monkeypatch.delenv("LPSS_NATIVE")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    loader.library.cache_clear()
    assert loader.library() is None and "no C compiler" in caplog.text
    monkeypatch.setenv("CC", "false")
    loader.library.cache_clear()
    assert loader.library() is None


def test_loading_it_leaves_the_processes_denormal_numbers_alone():
    code = (
        "import torch; from lpss.native import loader; assert loader.library() is not None;"
        "assert (torch.tensor([1e-40]) * 1.0).item() > 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
