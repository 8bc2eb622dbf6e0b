"""The benchmarks still run, and write what they print; no times are asserted."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = {
    "bench_loop.py": ["--datasets", "digits", "--turns", "1", "--threads", "1"],
    "bench_optimizer.py": ["--nets", "letter", "--p", "1.2", "--rounds", "1", "--threads", "1"],
    "bench_sweep.py": ["--dataset", "digits", "--runs", "2", "--processes", "1", "--steps", "5", "--rounds", "1"],
}


# What bench_sparse.py measures of toys, where SparseLab is not installed.
QUICK = {
    "layers": {"dense", "bfloat16", "masked", "dense bare", "csr 0.9", "ours 0.9", "ours bare 0.9"},
    "conv": {"dense", "dense NCHW", "bfloat16", "masked", "ours 0.9"},
    "steps": {"dense", "bfloat16", "masked", "dense lpsgd_m", "ours 0.9", "ours lpsgd_m 0.9"},
    "auto": {"dense", "masked", "auto 0.9"},
    "inference": {"dense", "bfloat16", "csr 0.9", "ours 0.9"},
}


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


LONG = ("bench_loop.py", "bench_sweep.py")


@pytest.mark.parametrize("script", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in SMALL])
def test_a_benchmark_runs(python, script, tmp_path):
    done = python(SCRIPTS / script, *SMALL[script], "--json", tmp_path / "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert rows and all(value is not None for row in rows for value in row.values())


@pytest.mark.slow
def test_image_nets_are_timed_in_each_mode_and_their_section_is_made(python, tmp_path):
    small = ["dataset.image_shape=[1,8,8]", "dataset.train_size=400", "train.batch_size=30"]
    words = ["--images", "synthetic-8-1", "--turns", "1", "--steps", "2", "--threads", "1", *small]
    done = python(SCRIPTS / "bench_loop.py", *words, "--json", tmp_path / "images.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "images.json").read_text())["rows"]
    assert row["net"] == "synthetic-8-1" and row["batch"] == 30 and len(row["steps"]) == 8
    assert all(one["step_ms"] > 0 and one["precision"] in ("float32", "bfloat16") for one in row["steps"])
    assert python(SCRIPTS / "bench_readme.py", tmp_path, cwd=tmp_path).returncode == 0
    assert "| synthetic-8-1 (30), dense |" in (tmp_path / "README.md").read_text()


def test_sparse_nets_are_measured_and_their_section_and_picture_are_made(python, tmp_path):
    measure = [SCRIPTS / "bench_sparse.py", "--quick", "--threads", "1", "--json", tmp_path / "sparse.json"]
    done = python(*measure, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "sparse.json").read_text())["cells"]
    assert {cell["part"] for cell in cells} == {*QUICK, "memory"}
    for cell in cells:
        if cell["part"] != "memory":
            assert QUICK[cell["part"]] <= set(cell["ms"]) and min(cell["ms"].values()) > 0
            assert set(cell["speed_up"]) == set(cell["median_speed_up"]) == set(cell["ms"])
    (held,) = (cell["bytes"] for cell in cells if cell["part"] == "memory")
    assert held["ours 0.9"]["weights"] < held["dense"]["weights"] and held["ours 0.9"]["index"] > 0

    again = python(*measure, "--resume", cwd=tmp_path)
    assert again.returncode == 0 and "layers" in done.stdout and "layers" not in again.stdout
    assert json.loads((tmp_path / "sparse.json").read_text())["cells"] == cells

    done = python(SCRIPTS / "bench_readme.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "README.md").read_text()
    assert "| 64x64 | 16 | 1 |" in text and "| small WRN | 16 | 1 |" in text and "### Memory" in text
    assert (tmp_path / "sparse.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_whole_runs_are_timed_under_both_backends(python, tmp_path):
    words = ["--quick", "--parts", "runs", "--threads", "1", "--json", tmp_path / "sparse.json"]
    done = python(SCRIPTS / "bench_sparse.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads((tmp_path / "sparse.json").read_text())["cells"]
    assert set(cell["runs"]) == {"dense", "auto"} and all(len(row["seconds"]) == 1 for row in cell["runs"].values())
    assert python(SCRIPTS / "bench_readme.py", tmp_path, cwd=tmp_path).returncode == 0
    assert "| digits, static | 1 |" in (tmp_path / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:Sparse CSR")  # "is in beta state"
def test_torchs_sparse_matrices_take_part_with_a_right_layer(scripts):
    from bench_contestants import CsrLinear

    layer = CsrLinear(nn.Linear(12, 7), sparsity=0.5)
    weight = layer.matrix.to_dense().requires_grad_()
    x, dy = torch.randn(5, 12, requires_grad=True), torch.randn(5, 7)
    y = layer(x)
    y.backward(dy)
    torch.testing.assert_close(y, F.linear(x, weight, layer.bias))
    dx, dweight = torch.autograd.grad(F.linear(x, weight, layer.bias), (x, weight), dy)
    torch.testing.assert_close(x.grad, dx)
    torch.testing.assert_close(layer.values.grad, dweight[weight != 0])
    with torch.no_grad():
        layer.values.mul_(2)
    torch.testing.assert_close(layer(x), F.linear(x, 2 * weight, layer.bias))


def test_bytes_that_a_step_holds_are_those_of_its_tensors(scripts):
    from bench_contestants import Net, steps

    net = Net({"name": "mlp", "hidden": [8]}, (6,), 4, 5)
    weights, biases, bytes_each = 6 * 8 + 8 * 4, 8 + 4, 4
    made = steps(net, (0.5,))
    held = {}
    for name in ("dense", "masked", "ours 0.5", "ours lpsgd_m 0.5"):
        step = made[name]()
        step()
        held[name] = step.held_bytes()
    whole = bytes_each * (weights + biases)
    assert held["dense"] == {"weights": whole, "gradients": whole, "optimizer": whole, "masks": 0, "index": 0}
    assert held["masked"] == held["dense"] | {"masks": bytes_each * weights}
    active = bytes_each * (weights // 2 + biases)
    assert [held["ours 0.5"][kind] for kind in ("weights", "gradients", "optimizer")] == [active] * 3
    assert held["ours 0.5"]["index"] >= bytes_each * weights // 2
    assert held["ours lpsgd_m 0.5"]["optimizer"] > active


def test_a_missed_goal_is_called_missed(scripts):
    from bench_sparse_readme import goals_of, ratio

    goals = goals_of({"part": "layers", "name": "512x512", "batch": 128})
    assert ratio(5.04, goals[0.9]) == "5.04 (goal 5)" and ratio(4.96, goals[0.9]) == "4.96 (goal 5 missed)"
    assert ratio(0.5) == "0.50" and ratio(None) == "-"
