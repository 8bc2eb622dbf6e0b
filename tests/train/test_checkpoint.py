"""Checkpoints: whole, and without pickle."""

import os
import pickle

import pytest
import torch

from lpss.errors import LpssError
from lpss.train import checkpoint

CPU = torch.device("cpu")


def test_nested_state_comes_back(tmp_path):
    path = tmp_path / "c.pt"
    state = {"a": torch.arange(3), "b": {"c": [1, 2.5, "x", None]}, "d": {"0.5": {3: torch.ones(2, dtype=torch.bool)}}}
    checkpoint.save(path, state)
    loaded = checkpoint.load(path, CPU)
    assert loaded["b"] == state["b"] and torch.equal(loaded["a"], state["a"])
    assert torch.equal(loaded["d"]["0.5"][3], torch.ones(2, dtype=torch.bool))
    assert os.listdir(tmp_path) == ["c.pt"]


def test_no_file_is_no_state(tmp_path):
    assert checkpoint.load(tmp_path / "none.pt", CPU) is None


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "c.pt").mkdir()
    with pytest.raises(LpssError, match=r"c\.pt cannot be read: Is a directory; remove it"):
        checkpoint.load(tmp_path / "c.pt", CPU)


def test_code_in_a_checkpoint_is_never_run(tmp_path, caplog):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    for name, write in (
        ("a.pt", lambda path: torch.save({"x": Evil()}, path)),
        ("b.pt", lambda path: path.write_bytes(pickle.dumps(Evil()))),
    ):
        write(tmp_path / name)
        caplog.clear()
        assert checkpoint.load(tmp_path / name, CPU) is None
        assert f"{name} cannot be read" in caplog.text
    assert not (tmp_path / "owned").exists()


def test_a_truncated_file_is_said(tmp_path, caplog):
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"a": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:500])
    assert checkpoint.load(path, CPU) is None
    assert "starts afresh" in caplog.text


def test_a_single_flipped_bit_is_noticed_wherever_it_is(tmp_path, caplog):
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"weight": torch.full((3,), 0.113), "step": 7})
    sound = path.read_bytes()
    for place in range(0, len(sound), 13):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x40]) + sound[place + 1 :])
        caplog.clear()
        assert checkpoint.load(path, CPU) is None and "its checksum is wrong" in caplog.text, place
    path.write_bytes(sound)
    assert checkpoint.load(path, CPU)["step"] == 7
