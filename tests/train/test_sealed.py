"""Tensors with facts, and the seal on both."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lpss.errors import DataError, LpssError
from lpss.train import sealed

TENSORS = {
    "float": torch.tensor([[1.0, -0.0], [torch.nan, 2.0]]),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "mask": torch.tensor([True, False]),
    "columns": torch.tensor([65535], dtype=torch.uint16),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 4),
}
FACTS = {"number": 0.1, "nested": {"list": [1, 2]}}


def test_tensors_and_facts_come_back(tmp_path):
    sealed.write(tmp_path / "file", TENSORS, FACTS)
    tensors, facts = sealed.read(tmp_path / "file")
    assert facts == FACTS and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and tensors[name].shape == tensor.shape
        assert torch.equal(tensors[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    assert load_file(tmp_path / "file").keys() == TENSORS.keys()


def test_the_same_gives_the_same_bytes(tmp_path):
    for name in "ab":
        sealed.write(tmp_path / name, TENSORS, FACTS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_views_and_strided_tensors_are_written_as_they_look(tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    sealed.write(tmp_path / "file", {"a": whole.T, "b": whole[1]}, {})
    tensors, _ = sealed.read(tmp_path / "file")
    assert torch.equal(tensors["a"], whole.T) and torch.equal(tensors["b"], whole[1])


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "file"
    sealed.write(path, TENSORS, FACTS)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            tensors, facts = sealed.read(path)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
        else:  # the name of the facts, without which the file is one of others; or a space between words
            assert facts == {} or (facts == FACTS and tensors.keys() == TENSORS.keys())
    assert len(whole) - 4 - len("__metadata__") <= refused < len(whole)


def test_files_of_others_have_no_facts(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "file", {"format": "pt"})
    tensors, facts = sealed.read(tmp_path / "file")
    assert facts == {} and torch.equal(tensors["a"], torch.ones(2))
    for words in ("{", "[]", '"text"', '{"sha256": 1}'):
        save_file({"a": torch.ones(2)}, tmp_path / "file", {"lpss": words})
        with pytest.raises(DataError, match="file (is damaged|cannot be read)"):
            sealed.read(tmp_path / "file")


def test_what_cannot_be_written_is_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LpssError, match="could not be written"):
        sealed.write(tmp_path / "file" / "x", TENSORS, FACTS)
