import gzip
import os
import pickle
import struct

import numpy as np
import pytest
import torch

from lpss.data import DATASETS, load
from lpss.data.images import ArrayUnpickler, read_cifar_batch, read_idx
from lpss.errors import DataError


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_read_idx(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "plain").write_bytes(idx(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("plain", "packed.gz"):
        assert torch.equal(read_idx(tmp_path / name), torch.from_numpy(array))


WHOLE = idx(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("f", WHOLE[:-1], "do not fill the shape"),
        ("f", WHOLE + b"x", "do not fill the shape"),
        ("f", WHOLE[:6], "do not fill the shape"),
        ("f", b"\0\0\x09" + WHOLE[3:], "not an idx file"),
        ("f", b"", "not an idx file"),
        ("f.gz", gzip.compress(WHOLE, mtime=0)[:-9], "is damaged"),
        ("f.gz", WHOLE, "is damaged"),
    ],
)
def test_read_idx_refuses(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{tmp_path / name}.*{problem}"):
        read_idx(tmp_path / name)


def test_read_cifar_batch(tmp_path):
    data = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(2, 3072)
    (tmp_path / "b").write_bytes(
        pickle.dumps({b"data": data, b"labels": [3, 7]}, protocol=2).replace(
            b"numpy._core.multiarray", b"numpy.core.multiarray"
        )
    )
    images, labels = read_cifar_batch(tmp_path / "b")
    assert images.shape == (2, 3, 32, 32) and labels.tolist() == [3, 7]
    assert images[1, 2, 31, 31] == data[1, -1]


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_a_pickle_may_not_call_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    with pytest.raises(DataError, match="system has no place in a data file"):
        read_cifar_batch(tmp_path / "b")
    assert not (tmp_path / "evil").exists()
    assert ("builtins", "eval") not in ArrayUnpickler.allowed


@pytest.mark.parametrize("content", [b"", b"rubbish", pickle.dumps({b"data": 1}), pickle.dumps([1])])
def test_read_cifar_batch_refuses_other_content(tmp_path, content):
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(DataError, match="not a CIFAR-10 batch"):
        read_cifar_batch(tmp_path / "b")


def test_cifar_is_not_unpickled_before_its_checksum_matched(tmp_path, monkeypatch):
    source = DATASETS["cifar10"]()
    for file in source.files:
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        with open(path, "wb") as stream:
            stream.truncate(file.size)  # of the right size, and all zeros
    monkeypatch.setattr("lpss.data.images.read_cifar_batch", lambda path: pytest.fail("it was unpickled"))
    with pytest.raises(DataError, match="data_batch_1 is altered.*lpss-data fetch cifar10"):
        load("cifar10", tmp_path, download=False)


def test_addresses_and_checksums_are_those_of_torchvision():
    from torchvision import datasets

    for name, theirs in (("mnist", datasets.MNIST), ("fashion_mnist", datasets.FashionMNIST)):
        files = DATASETS[name].files
        assert [(f.path.rpartition("/")[2], f.checksum.removeprefix("md5:")) for f in files] == theirs.resources
        for file in files:
            assert file.urls == tuple(mirror + file.path.rpartition("/")[2] for mirror in theirs.mirrors)
    batches = datasets.CIFAR10.train_list + datasets.CIFAR10.test_list
    ours = DATASETS["cifar10"].files
    assert [(f.path, f.checksum) for f in ours] == [
        (f"{datasets.CIFAR10.base_folder}/{name}", f"md5:{md5}") for name, md5 in batches
    ]
    assert {f.urls for f in ours} == {(datasets.CIFAR10.url,)}


@pytest.mark.parametrize(
    ("name", "folder", "shape", "train", "first"),
    [
        ("mnist", "MNIST", (1, 28, 28), 60_000, [5, 0, 4, 1, 9]),
        ("fashion_mnist", "FashionMNIST", (1, 28, 28), 60_000, [9, 0, 0, 3, 0]),
        ("cifar10", "cifar-10-batches-py", (3, 32, 32), 50_000, [6, 9, 9, 4, 1]),
    ],
)
def test_the_real_sets(real, name, folder, shape, train, first):
    dataset = load(name, real(folder), download=False)
    assert dataset.train.x.shape == (train, *shape) and dataset.test.x.shape == (10_000, *shape)
    assert dataset.train.x.dtype == torch.uint8 and dataset.classes == 10
    assert dataset.train.y[:5].tolist() == first
    scaled = dataset.train.x[::10].float() / 255
    assert scaled.mean((0, 2, 3)).tolist() == pytest.approx(dataset.mean, abs=0.01)
    assert scaled.std((0, 2, 3)).tolist() == pytest.approx(dataset.std, abs=0.01)


def test_the_unpacked_idx_files_will_do(real, tmp_path):
    """If only the plain files are present, they are checked and give the same tensors."""
    packed = real("MNIST")
    for path in (packed / "MNIST" / "raw").glob("*.gz"):
        target = tmp_path / "MNIST" / "raw" / path.stem
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.decompress(path.read_bytes()))
    plain = load("mnist", tmp_path, download=False)
    assert torch.equal(plain.train.x, load("mnist", packed, download=False).train.x)
    labels = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x09")
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is altered"):
        load("mnist", tmp_path, download=False)
