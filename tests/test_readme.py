"""The README's code runs as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:python|yaml)\n(.*?)```", README, flags=re.S)
FILES = dict(block.removeprefix("# file: ").split("\n", 1) for block in BLOCKS if block.startswith("# file: "))


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_loop_on_an_own_network_reaches_the_sparsity(tmp_path):
    (code,) = (block for block in BLOCKS if block.startswith("import torch"))
    printed = run(tmp_path, sys.executable, "-c", code).stdout
    loss, sparsity = map(float, re.match(r"loss ([\d.]+), sparsity ([\d.]+)", printed).groups())
    assert loss < 0.3 and abs(sparsity - 0.8) < 0.03


def test_own_parts_train_as_the_readme_says(tmp_path):
    assert len(FILES) == 4
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (command,) = re.findall(r"^    lpss-train (--config-dir .*)$", README, flags=re.M)
    run(tmp_path, str(Path(sys.executable).with_name("lpss-train")), *command.split())
    assert len(list(tmp_path.glob("outputs/wine-two_layers*/rigl_smallest-s0.8/seed0-*/run.json"))) == 1


def test_every_choice_is_listed():
    conf = Path(__file__).resolve().parents[1] / "conf"
    for group in ("dataset", "model", "method", "optimizer", "schedule"):
        row = next(line for line in README.splitlines() if line.startswith(f"| `{group}=`"))
        for choice in (conf / group).glob("*.yaml"):
            assert re.search(rf"\b{choice.stem}\b", row.split("|")[2]), f"{group}={choice.stem} is not in the README"
