"""What the READMEs say is so: their code runs as printed, their links exist, what they name can be chosen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lpss.cli.compose import compose_run
from lpss.config import incidental_settings
from lpss.record import FIELDS
from lpss.registries import REGISTRIES

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", *(f"{folder}/README.md" for folder in ("conf", "lpss", "outputs", "tests"))]
READMES += ["lpss/integrations/README.md"]  # whose code is run by integrations/test_examples.py
READMES += ["lpss/data/README.md", "lpss/engine/README.md", "lpss/sparse/README.md", "lpss/sparse/methods/README.md"]
READMES += [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("outputs/*/README.md"))]
TABLE4 = yaml.safe_load((ROOT / "conf/table4.yaml").read_text(encoding="utf-8"))["one_method"]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in READMES}
README, CONF, PACKAGE, OUTPUTS = (TEXTS[name] for name in READMES[:4])


def blocks(text: str) -> list[str]:
    return re.findall(r"```(?:python|yaml)\n(.*?)```", text, flags=re.S)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_loop_on_an_own_network_reaches_the_sparsity(tmp_path):
    (code,) = (block for block in blocks(README) if block.startswith("import torch"))
    printed = run(tmp_path, sys.executable, "-c", code).stdout
    loss, sparsity = map(float, re.match(r"loss ([\d.]+), sparsity ([\d.]+)", printed).groups())
    assert loss < 0.3 and abs(sparsity - 0.8) < 0.03


def test_the_code_for_an_own_network_runs(tmp_path):
    loop, trained = blocks(TEXTS["lpss/sparse/README.md"])
    printed = run(tmp_path, sys.executable, "-c", loop).stdout
    assert "masks cover 10 of 10 layers" in printed and printed.endswith("sparsity 0.800\n")
    moved = re.search(r"moved by (.*)", run(tmp_path, sys.executable, "-c", trained).stdout).group(1)
    assert float(moved) < 1e-5


def test_the_code_that_computes_from_active_weights_runs(tmp_path):
    (code,) = blocks(TEXTS["lpss/engine/README.md"])
    printed = run(tmp_path, sys.executable, "-c", code).stdout
    assert "3 of 3 masked layers compute from their active weights alone" in printed
    loss, kept, whole = re.search(r"loss ([\d.]+), (\d+) of (\d+) weights", printed).groups()
    assert float(loss) < 0.5 and int(kept) == round(0.1 * int(whole))


def test_own_parts_train_as_the_packages_readme_says(tmp_path):
    files = dict(block.removeprefix("# file: ").split("\n", 1) for block in blocks(PACKAGE))
    assert len(files) == 2 * len(REGISTRIES)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (command,) = re.findall(r"^    lpss-train (--config-dir (?:.*\\\n)*.*)$", PACKAGE, flags=re.M)
    run(tmp_path, sys.executable, "-m", "lpss.cli.train", *command.replace("\\\n", " ").split())
    (epochs,) = tmp_path.glob("outputs/wine-two_layers*/rigl_smallest-s0.8/seed0-*/epochs.jsonl")
    assert len(epochs.read_text().splitlines()) == 30 and (epochs.parent / "run.json").exists()


@pytest.mark.parametrize("name", READMES)
def test_every_link_leads_somewhere(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if not link.startswith(("http://", "https://", "#")):
            assert (ROOT / name).parent.joinpath(link).exists(), link
        elif link.startswith("#"):
            titles = re.findall(r"^#+ (.*)$", TEXTS[name], flags=re.M)
            assert link[1:] in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def test_the_first_readme_is_short_and_leads_to_all_others():
    assert len(README.splitlines()) <= 130
    assert set(READMES) == {"README.md", *re.findall(r"\]\(([\w/]+/README\.md)\)", README)}


@pytest.mark.parametrize("name", READMES)
def test_every_choice_that_is_named_exists(name):
    chosen = re.findall(rf"\b({'|'.join(REGISTRIES)})=\[?([a-z0-9_,]+)", TEXTS[name])
    known = {group: {*registry, "auto", *_own(group)} for group, registry in REGISTRIES.items()}
    known["tracker"] |= {"csv", "none"}
    assert not [f"{group}={one}" for group, names in chosen for one in names.split(",") if one not in known[group]]
    for experiment in re.findall(r"experiment=(\w+(?:/\w+)?)", TEXTS[name]):
        table, _, dataset = experiment.partition("/")
        file = (ROOT / "conf" / "experiment" / f"{experiment}.yaml").exists()
        assert file or dataset in TABLE4.get(table, {}), experiment


def _own(group: str) -> list[str]:
    """What the package's README adds in its example."""
    return re.findall(rf"# file: my_conf/{group}/(\w+)\.yaml", PACKAGE)


def test_the_demos_table_is_the_committed_one():
    table = (ROOT / "outputs/demo/table.md").read_text(encoding="utf-8")
    assert " ".join(table.split()) in " ".join(README.split())


def test_conf_names_the_settings_outside_the_hash_and_rules_of_p_that_work():
    for key in incidental_settings():
        assert f"`{key}`" in CONF or f"`{key.split('.')[0]}.*`" in CONF, key
    rules = re.findall(r"`(optimizer\.p=[^`]+)`", CONF)
    assert len(rules) >= 4
    for rule in rules:
        assert compose_run(["method=lpss", rule.replace("'", "")]).optimizer["p"]


def test_every_field_of_a_record_is_explained():
    assert not [name for name in FIELDS if f"`{name}`" not in OUTPUTS]


def test_every_promise_names_a_test_and_every_table_of_benchmarks_its_json(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from bench_readme import readme

    assert TEXTS["outputs/bench/README.md"] == readme(ROOT / "outputs" / "bench")
    promises = TEXTS["tests/README.md"].partition("which test shows it")[2].splitlines()
    assert all("_" in row and ".py)" in row for row in promises if row.startswith("| ") and row != "| promise | test |")
