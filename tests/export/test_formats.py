"""The formats that hold all of a net: bit by bit there and back; damaged and foreign files are refused."""

import json
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_array
from torch import nn

import lpss
from lpss.errors import DataError, LpssError
from lpss.export.contents import Contents
from lpss.export.formats import FORMATS
from lpss.export.load import read
from lpss.export.safetensors_file import encoded
from lpss.layers import weight_layers
from lpss.train.description import Description

HOLD_ALL = [name for name in FORMATS if name != "onnx"]
LETTER = Description({"name": "mlp", "hidden": [1024, 512, 256, 128, 64]}, (16,), 26, False, (1.0,) * 16, (2.0,) * 16)
WRN = Description({"name": "wrn", "depth": 22, "width": 2}, (3, 32, 32), 10, True, (0.5,) * 3, (0.2,) * 3)


@pytest.fixture
def write(tmp_path):
    """write(format, contents) -> the file."""

    def to_file(name: str, contents: Contents):
        path = tmp_path / f"net{FORMATS[name].suffix}"
        import_module(FORMATS[name].module).write(path, contents)
        return path

    return to_file


@pytest.mark.parametrize("name", HOLD_ALL)
def test_weights_masks_and_description_come_back_bit_by_bit(contents, alike, write, name):
    again = read(write(name, contents))
    assert alike(again.state, contents.state) and alike(again.masks, contents.masks)
    assert again.description == contents.description


@pytest.mark.parametrize("name", HOLD_ALL)
def test_convolutions_and_buffers_come_back_bit_by_bit(make_contents, alike, write, name):
    small = replace(WRN, model={"name": "wrn", "depth": 8, "width": 1}, class_names=tuple("0123456789"))
    made = make_contents(0.95, small)
    again = read(write(name, made))
    assert alike(again.state, made.state) and alike(again.masks, made.masks)
    assert again.description == made.description and again.state["stem.1.num_batches_tracked"].shape == ()


@pytest.mark.parametrize("name", HOLD_ALL)
def test_masks_of_weights_that_are_computed_from_others_come_back(contents, alike, write, name):
    contents.masks["elsewhere"] = torch.tensor([[True, False]])
    contents.state["layers.0.weight"][~contents.masks["layers.0"]] = 1.0  # not zero off its mask: stays dense
    again = read(write(name, contents))
    assert alike(again.state, contents.state) and alike(again.masks, contents.masks)


@pytest.mark.parametrize("name", HOLD_ALL)
def test_the_same_net_gives_the_same_bytes(contents, write, name):
    first = write(name, contents).read_bytes()
    assert write(name, contents).read_bytes() == first


@pytest.mark.parametrize("description", [LETTER, WRN], ids=["letter", "wrn-22-2"])
@pytest.mark.parametrize(("sparsity", "limit"), [(0.9, 0.6), (0.99, 0.2)])
def test_bytes_per_maskable_weight(make_contents, write, description, sparsity, limit):
    made = make_contents(sparsity, description)
    maskable = sum(mask.numel() for mask in made.masks.values())
    assert maskable > 700_000
    assert write("safetensors", made).stat().st_size <= limit * maskable
    assert sum(one.nbytes for one in encoded(made).values()) <= (limit - 0.06) * maskable


def test_a_state_dict_is_torchs_own(contents, write, alike):
    state = torch.load(write("torch", contents), weights_only=True)
    assert isinstance(state, OrderedDict) and alike(state, contents.state)
    net = contents.description.build()
    net.load_state_dict(state)
    assert alike(net.state_dict(), contents.state)


def test_scipy_rebuilds_every_layer_of_an_npz(make_contents, write):
    made = make_contents(0.9, WRN)
    with np.load(write("npz", made), allow_pickle=False) as file:
        arrays = dict(file)
    for layer, mask in made.masks.items():
        parts = (arrays[f"{layer}.weight.{part}"] for part in ("data", "indices", "indptr"))
        matrix = csr_array(tuple(parts), shape=tuple(arrays[f"{layer}.weight.shape"]))
        matrix.check_format()
        assert np.array_equal(matrix.toarray(), made.state[f"{layer}.weight"].flatten(1).numpy())
        assert matrix.nnz == mask.sum()


def test_a_compressed_file_says_what_its_parts_are(contents, write):
    from safetensors import safe_open

    with safe_open(write("safetensors", contents), framework="np") as file:
        metadata, names = file.metadata(), set(file.keys())
    facts = json.loads(metadata["lpss"])
    assert facts["description"]["model"]["name"] == "mlp"
    for layer, one in encoded(contents).items():
        said = facts["masked"][f"net.{layer}.weight"]
        assert said["layer"] == layer and said["shape"] == list(contents.masks[layer].shape)
        assert {f"net.{layer}.weight.{part}" for part in one.parts} <= names
    assert {one.form for one in encoded(contents).values()} == {"bitmask", "dense"}


def test_a_type_that_numpy_lacks_is_a_line(contents, tmp_path):
    contents.state["layers.0.weight"] = contents.state["layers.0.weight"].bfloat16()
    with pytest.raises(LpssError, match="made by hand: npz cannot hold it"):
        import_module(FORMATS["npz"].module).write(tmp_path / "net.npz", contents)


@pytest.mark.parametrize("name", HOLD_ALL)
def test_no_wrong_byte_and_no_cut_goes_unnoticed(contents, write, name, alike):
    path = write(name, contents)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        for content in (whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :], whole[:place]):
            path.write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    again = read(path).in_order()
                except DataError as error:
                    assert str(path) in str(error)
                else:  # a byte that means nothing, such as a time in an archive
                    assert len(content) == len(whole)
                    assert alike(dict(again.state), dict(contents.state)) and alike(again.masks, contents.masks)
                    assert again.description == contents.description


def foreign(path, kind):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no net")
    elif kind == "safetensors":
        save_file({"weight": torch.zeros(2, 2)}, path)
    elif kind == "weights without their run":
        save_file({"net.weight": torch.zeros(2, 2), "mask.": torch.ones(2, 2, dtype=torch.bool)}, path)
    elif kind == "state dict":
        torch.save(nn.Linear(2, 2).state_dict(), path)
    elif kind == "module":
        torch.save(nn.Linear(2, 2), path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "npz":
        np.savez(path.open("wb"), weight=np.zeros((2, 2)))
    elif kind == "npz of objects":
        np.savez(path.open("wb"), lpss=np.array({"a": 1}, dtype=object))
    elif kind == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "no net")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "is empty"),
        ("text", "cannot be read as safetensors"),
        ("safetensors", "is no net of lpss's"),
        ("weights without their run", "there is no run.json beside it"),
        ("state dict", "is no net of lpss's: torch's"),
        ("module", "is no net of lpss's: it holds more than a state dict, and is not executed"),
        ("list", "is no net of lpss's: torch's"),
        ("npz", "is no net of lpss's: NumPy's"),
        ("npz of objects", "cannot be read as arrays"),
        ("archive", "some other archive"),
    ],
)
def test_foreign_files_are_a_line(tmp_path, kind, words):
    foreign(tmp_path / "file", kind)
    with pytest.raises(DataError, match=words) as caught:
        lpss.load(tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", HOLD_ALL)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"name": "mlp", "hidden": [24, 17], "norm": "batch"}}, "size mismatch"),
        ({"model": {"name": "nothing"}}, "unknown model 'nothing'"),
        ({"model": {"name": "mine"}, "plugins": ("my_models",)}, "a plugin's: import my_models first"),
        ({"input_shape": (0,)}, r"3 classes of examples of shape \(0,\)"),
        ({"mean": (1.0,)}, "mean and std do not fit"),
        ({"class_names": ("a",)}, "1 names of 3 classes"),
    ],
)
def test_a_description_of_another_net_is_a_line(contents, write, name, change, words):
    path = write(name, replace(contents, description=replace(contents.description, **change)))
    with pytest.raises(DataError, match=words) as caught:
        lpss.load(path)
    assert str(path) in str(caught.value)


def test_tensors_beside_the_masked_ones_are_stored_as_they_are(contents, write):
    tensors = load_file(write("safetensors", contents))
    for key, value in contents.state.items():
        if not any(key == f"{layer}.weight" for layer in contents.masks):
            assert tensors[f"net.{key}"].equal(value)
    assert len(weight_layers(contents.description.build())) == 3
