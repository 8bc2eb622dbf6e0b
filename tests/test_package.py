"""What a wheel must bring along, and what importing the package must not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lpss

REPOSITORY = Path(__file__).resolve().parents[1]


def test_public_names_exist():
    for name in lpss.__all__:
        assert getattr(lpss, name) is not None
        assert name in dir(lpss)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lpss.nothing  # noqa: B018


def test_the_package_itself_needs_no_torch():
    code = "import lpss, lpss.cli.table, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_wheel_holds_every_module_and_every_config_file(tmp_path):
    pytest.importorskip("setuptools", reason="building a wheel here needs setuptools")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--quiet",
            "--wheel-dir",
            str(tmp_path),
            str(_copy(tmp_path / "source")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    held = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "lpss").rglob("*.py")}
    configs = {f"lpss/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert modules | configs | {"lpss/report/published.csv", "lpss/optim/kernel.c"} <= held


def _copy(target: Path) -> Path:
    """The tracked parts of the source, so that building leaves nothing in the checkout."""
    import shutil

    target.mkdir()
    for name in ("lpss", "conf"):
        shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, target / name)
    return target
