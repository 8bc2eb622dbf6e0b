"""numpy arrays of one's own."""

import numpy as np
import pytest
import torch

from lpss.data import load
from lpss.data.arrays import ArraysConfig
from lpss.errors import LpssError

Y = np.arange(40) % 4
TABLE = np.random.RandomState(0).randn(40, 3) + 1e9


@pytest.fixture
def npz(tmp_path):
    """npz(x=..., y=...): the path of a file of these arrays."""

    def save(name="mine.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return str(tmp_path / name)

    return save


def read(path, **options):
    return load(ArraysConfig("npz", path=path, **options))


def test_rows_of_numbers_are_a_table(npz):
    x = TABLE.copy()
    x[::5, 1] = np.nan
    data = read(npz(x=x, y=Y))
    assert data.recipe.features == ["0", "1", "1 is missing", "2"] and data.class_names == ("0", "1", "2", "3")
    assert (len(data.train), len(data.test)) == (32, 8) and torch.bincount(data.test.y).tolist() == [2, 2, 2, 2]
    assert torch.allclose(data.train.x[:, 0].std(correction=0), torch.tensor(1.0))


@pytest.mark.parametrize("shape", [(40, 8, 8), (40, 1, 8, 8), (40, 3, 8, 8), (40, 8, 8, 3)])
def test_bytes_are_images(npz, shape):
    x = np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)
    data = read(npz(x=x, y=Y.astype(str)), title="mine")
    channels = 3 if 3 in shape else 1
    assert data.input_shape == (channels, 8, 8) and data.train.x.dtype == torch.uint8 and data.recipe is None
    assert np.allclose(data.mean, data.train.x.double().div(255).mean((0, 2, 3)))
    assert np.allclose(data.std, data.train.x.double().div(255).transpose(0, 1).flatten(1).std(1, correction=0))
    assert data.name == "mine" and "8 test images (a share of 0.2 of each class" in data.notes[0]
    if shape[-1] == 3:
        assert torch.equal(data.train.x, read(npz(x=x.transpose(0, 3, 1, 2), y=Y.astype(str))).train.x)


def test_arrays_have_names_and_a_second_file_tests(npz, tmp_path):
    first, second = npz(a=TABLE, b=Y), npz("test.npz", a=TABLE[:8], b=Y[:8])
    data = read(first, inputs="a", target="b", test_path=second)
    assert (len(data.train), len(data.test)) == (40, 8)
    np.save(tmp_path / "x.npy", TABLE)
    np.save(tmp_path / "y.npy", Y)
    plain = read(str(tmp_path / "x.npy"), target=str(tmp_path / "y.npy"))
    assert torch.equal(plain.train.y, read(first, inputs="a", target="b").train.y)
    images = np.zeros((40, 4, 4), np.uint8)
    data = read(npz(x=images, y=Y), test_path=npz("test.npz", x=images[:4], y=Y[:4]))
    assert (len(data.train), len(data.test)) == (40, 4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": TABLE}, "there is no array 'y', but x: say dataset.inputs, dataset.target"),
        ({"x": TABLE, "y": Y[:39]}, r"inputs of shape \(40, 3\) with labels of shape \(39,\)"),
        ({"x": TABLE[:0], "y": Y[:0]}, r"inputs of shape \(0, 3\)"),
        ({"x": TABLE, "y": Y / 3}, "lpss does no regression"),
        ({"x": TABLE.astype(str), "y": Y}, "numbers are expected"),
        ({"x": TABLE.reshape(40, 3, 1, 1), "y": Y}, r"inputs are float64 of shape \(40, 3, 1, 1\)"),
        ({"x": np.zeros((40, 2, 4, 4, 4), np.uint8), "y": Y}, "inputs are uint8 of shape"),
        ({"x": np.array([[{}]] * 40), "y": Y}, "cannot be read as numpy arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_a_line(npz, arrays, message):
    path = npz(**arrays)
    with pytest.raises(LpssError, match=message) as caught:
        read(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_other_files_are_a_line(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 no more")
    with pytest.raises(LpssError, match="a.npz cannot be read as numpy arrays"):
        read(str(tmp_path / "a.npz"))
    np.save(tmp_path / "x.npy", TABLE)
    with pytest.raises(LpssError, match="x.npy holds inputs alone: name the npy file of labels"):
        read(str(tmp_path / "x.npy"))
