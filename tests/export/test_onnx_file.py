"""ONNX Runtime computes what the net does."""

import json

import numpy as np
import pytest
import torch

import lpss
from lpss.data import load as load_data
from lpss.errors import LpssError
from lpss.export import onnx_file
from lpss.export.load import read
from lpss.registries import DATASETS


@pytest.mark.parametrize("name", ["table", "columns", "images"])
def test_onnx_runtime_agrees_for_any_number_of_examples(trained, tmp_path, name, capfd):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    done, path = trained(name), tmp_path / "net.onnx"
    onnx_file.write(path, read(done.folder))
    assert capfd.readouterr() == ("", "") and [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = load_data(DATASETS.options(done.run.config.dataset), standardised=False).test.x
    net = lpss.load(done.folder)
    for count in (1, 7, len(x)):
        (logits,) = session.run(["logits"], {"examples": x[:count].numpy()})
        with torch.no_grad():
            wanted = net(x[:count]).numpy()
        assert np.abs(logits - wanted).max() <= 1e-4 * np.abs(wanted).max()
    said = json.loads(session.get_modelmeta().custom_metadata_map["lpss"])
    assert said["classes"] == wanted.shape[1]


def test_a_missing_extra_is_a_line(contents, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(LpssError, match=r'onnx and onnxscript: pip install "lpss\[export\]"'):
        onnx_file.write(tmp_path / "net.onnx", contents)
    assert not list(tmp_path.iterdir())
