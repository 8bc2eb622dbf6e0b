"""The script that trains nets of others: a few steps of each, what it writes, and that it goes on where it was."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT, RESULTS = ROOT / "scripts" / "real_nets.py", ROOT / "outputs" / "real_nets"


@pytest.fixture
def run(python, tmp_path):
    def start(*arguments):
        done = python(SCRIPT, "--steps", "3", "--output", tmp_path / "out", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout, json.loads((tmp_path / "out" / "results.json").read_text())

    return start


@pytest.fixture
def cifar10() -> Path:
    for place in (os.environ.get("LPSS_DATA"), "~/.cache/lpss"):
        if place and (Path(place).expanduser() / "cifar-10-batches-py" / "test_batch").exists():
            return Path(place).expanduser()
    pytest.skip("no CIFAR-10: set LPSS_DATA to a folder with cifar-10-batches-py/ (see `lpss-data`)")


@pytest.mark.slow
def test_a_language_model_trains_sparse_and_its_table_is_written(run, tmp_path):
    printed, results = run("--nets", "lm", "--methods", "lpss", "lpss_attention_dense")
    assert [one["method"] for one in results] == ["lpss", "lpss_attention_dense"]
    for one in results:
        assert abs(one["sparsity_reached"] - 0.8) < 1e-4 and one["flops_training"] > one["flops_inference"]
    attention = [facts for name, facts in results[1]["layers"].items() if "self_attn" in name]
    assert len(attention) == 4 and all(facts["sparsity"] == 0 for facts in attention)
    assert "masks cover 9 of 11 layers" in printed and "bits per character" in printed
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| LpSS, attention not masked | LpSGD-m" in readme and "| encoder.layers.0.linear1 | linear |" in readme


def test_a_finished_cell_is_not_trained_again(run):
    _, first = run("--nets", "lm", "--methods", "rigl")
    printed, second = run("--nets", "lm", "--methods", "rigl", "dense", "--seeds", "0")
    assert second[0] == first[0] and [one["method"] for one in second] == ["rigl", "dense"]
    assert "RigL" not in printed


@pytest.mark.parametrize("net", [pytest.param("resnet18", marks=pytest.mark.slow), "vit"])
def test_nets_of_torchvision_train_sparse(run, cifar10, net):
    _, results = run("--nets", net, "--methods", "lpss", "rigl", "--data", cifar10)
    assert [round(one["sparsity_reached"], 4) for one in results] == [0.8, 0.8]
    assert all(0 <= one["accuracy"] <= 1 for one in results)


def test_the_committed_readme_is_made_from_the_committed_results(load_script):
    results = json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == load_script("real_nets_readme").readme(results)
