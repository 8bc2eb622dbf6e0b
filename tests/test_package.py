"""What a wheel must contain, and what importing the package must not import."""

import os
import shutil
import subprocess
import sys
import sysconfig
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", reason="building a wheel here needs setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder))
    command = [sys.executable, "-m", "pip", "wheel", *options, str(_copy(folder / "source"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_every_module_and_every_config_file(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "lpss").rglob("*.py")}
    sources = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "lpss").rglob("*.[ch]")}
    assets = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "lpss/report/page/assets").iterdir()}
    configs = {f"lpss/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert modules | configs | assets | {"lpss/report/published.csv"} | sources <= held


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """installed("lpss-train", ...) runs a command of the wheel, installed in a venv of its own, in an empty folder.

    torch and the like come from this environment, its own lpss does not (a folder that a .pth file names is searched
    last, and its own .pth files, those of an editable lpss, are not read).
    """
    folder = tmp_path_factory.mktemp("installed")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    options = ("install", "--no-deps", "--no-index", "--quiet", str(wheel))
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), *options]
    subprocess.run(pip, check=True, env=environment)
    packages = next((venv / "lib").glob("python*")) / "site-packages"
    (packages / "of_the_tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (work := folder / "work").mkdir()

    def call(program: str, *words: str) -> str:
        command = [str(venv / "bin" / program), *words]
        environment["OMP_NUM_THREADS"] = "1"
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    place = call("python", "-c", "import lpss.conf; print(lpss.__file__, *lpss.conf.__path__)")
    assert place.split() == [str(packages / "lpss/__init__.py"), str(packages / "lpss/conf")]
    call.work = work
    return call


FEW = ("train.epochs=1", "train.max_steps=2", "train.batch_size=16", "threads=1")


def test_every_command_of_an_installed_wheel_works(installed):
    assert "outputs" in installed("lpss-train", "--cfg", "job", "experiment=table4_best/letter", "method=set")
    installed("lpss-train", "-m", "dataset=digits", "method=lpss,static", *FEW)
    assert "| Digits" in installed("lpss-table")
    assert installed("lpss-runs", "list").count("finished") == 2
    installed("lpss-report", "--output", "report.html")
    assert "<title>Sparse training: outputs</title>" in (installed.work / "report.html").read_text(encoding="utf-8")
    (run,) = installed.work.glob("outputs/*/lpss-*/*")
    assert "| the file | npz" in installed("lpss-export", str(run), "--format", "npz")
    (installed.work / "new.csv").write_text(",".join(map(str, range(64))) + "\n" + ",".join(["0.5"] * 64) + "\n")
    assert installed("lpss-predict", str(run), "new.csv").startswith("prediction,probability,p(0),")
    assert "digits" in installed("lpss-data")
    assert "  predict " in installed("lpss", "--help") and "| Digits" in installed("lpss", "table")
    assert "hydra_bash_completion" in installed("lpss-completion", "bash")
    assert ".7959" in installed("lpss-theory", "--d", "288", "--p", "1.2")


@pytest.mark.slow
def test_figures_of_an_installed_wheel(installed):
    images = ("dataset=synthetic", "dataset.image_shape=[1,28,28]", "dataset.train_size=32", "dataset.test_size=20")
    assert "fig2.png" in installed("lpss-figures", "fig2", "--workers", "2", "--output", "new", *images, *FEW)
    (installed.work / "again").mkdir()
    shutil.copy(REPOSITORY / "outputs/figures/fig2.csv", installed.work / "again")
    assert "fig2.png" in installed("lpss-figures", "fig2", "--redraw", "--output", "again")
    assert (installed.work / "again/fig2.pdf").stat().st_size > 5000


def _copy(target: Path) -> Path:
    """The tracked parts of the source, so that building leaves nothing in the checkout."""
    target.mkdir()
    for name in ("lpss", "conf"):
        shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, target / name)
    return target
