"""The script that runs exported MLPs without torch."""

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lpss.export.contents import Contents
from lpss.export.npz_file import write
from lpss.layers import weight_layers
from lpss.train.description import Description

PATH = Path(__file__).resolve().parents[2] / "scripts" / "predict_scipy.py"
WITHOUT_TORCH = """
import runpy, sys
sys.modules.update(torch=None, lpss=None)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TABLE = Description({"name": "mlp", "hidden": [32, 16]}, (6,), 3, False, (3.0,) * 6, (2.0,) * 6, ("a", "b", "c"))


def made(description: Description) -> Contents:
    torch.manual_seed(0)
    net = description.build()
    masks = {layer.name: torch.rand(layer.weight.shape) < 0.3 for layer in weight_layers(net)[:-1]}
    state = net.state_dict()
    for value in state.values():
        if value.is_floating_point() and value.dim() == 1:
            value.uniform_(0.5, 1.5)
    for layer, mask in masks.items():
        state[f"{layer}.weight"][~mask] = 0.0
    return Contents(state, masks, description, "made by hand")


def run(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT_TORCH, PATH, *words]
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


@pytest.mark.parametrize(
    "description",
    [
        TABLE,
        replace(TABLE, mean=None, std=None, class_names=None),
        replace(TABLE, model={"name": "mlp", "hidden": [32, 16], "norm": "batch"}),
        Description({"name": "mlp", "hidden": [32]}, (3, 4, 5), 4, True, (0.2, 0.4, 0.5), (0.3, 0.2, 0.1)),
    ],
    ids=["table", "as it is", "BatchNorm", "images"],
)
def test_logits_are_torchs_up_to_rounding_without_torch(tmp_path, description):
    contents = made(description)
    write(tmp_path / "net.npz", contents)
    x = torch.randint(0, 256, (20, *description.input_shape))
    x = x.byte() if description.pixels else x.float() / 40
    np.save(tmp_path / "x.npy", x.numpy())
    done = run(tmp_path / "net.npz", tmp_path / "x.npy", "--logits", tmp_path / "y.npy")
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        wanted = contents.build()(x).numpy()
    logits = np.load(tmp_path / "y.npy")
    assert logits.dtype == np.float32 and np.abs(logits - wanted).max() <= 1e-5 * np.abs(wanted).max()
    names = description.class_names or range(description.classes)
    assert done.stdout.split() == [str(names[label]) for label in wanted.argmax(1)]
    assert np.ptp(logits, 0).min() > 0, "every logit depends on the examples"


def test_a_csv_is_read_line_by_line(tmp_path):
    write(tmp_path / "net.npz", made(TABLE))
    (tmp_path / "x.csv").write_text("1,2,3,4,5,6\n")
    assert run(tmp_path / "net.npz", tmp_path / "x.csv").stdout in ("a\n", "b\n", "c\n")


def test_what_it_cannot_run_is_a_line(tmp_path):
    conv = Description({"name": "wrn", "depth": 8, "width": 1}, (1, 8, 8), 3, True, (0.5,), (0.5,))
    write(tmp_path / "net.npz", made(conv))
    (tmp_path / "x.csv").write_text("1,2,3\n")
    done = run(tmp_path / "net.npz", tmp_path / "x.csv")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"{tmp_path / 'net.npz'} holds a net of kind wrn: this script runs MLPs only\n"
    write(tmp_path / "net.npz", made(TABLE))
    assert run(tmp_path / "net.npz", tmp_path / "x.csv").stderr == "the net takes examples of shape [6], got [3]\n"


def test_weights_stay_sparse(tmp_path):
    from scipy.sparse import csr_array

    contents = made(TABLE)
    write(tmp_path / "net.npz", contents)
    net = runpy.run_path(str(PATH))["Net"](tmp_path / "net.npz")
    assert [type(weight) for weight in net.weights] == [csr_array, csr_array, np.ndarray]
    assert [weight.nnz for weight in net.weights[:2]] == [int(mask.sum()) for mask in contents.masks.values()]
