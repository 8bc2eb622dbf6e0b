"""MNIST, Fashion-MNIST and CIFAR-10, read from the files as published."""

import codecs
import gzip
import pickle
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpss.data.dataset import DatasetConfig
from lpss.data.sources import DataSource
from lpss.data.store import File
from lpss.errors import DataError
from lpss.registries import DATASETS


def read_idx(path: Path) -> Tensor:
    """uint8 tensor of an idx file, gzipped or plain. Raises DataError for a wrong header or length."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            data = stream.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); remove it and fetch it again") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":  # 8: unsigned bytes; the fourth byte counts the dimensions
        raise DataError(f"{path} is not an idx file of bytes")
    start = 4 + 4 * data[3]
    shape = struct.unpack_from(f">{data[3]}I", data, 4) if len(data) >= start else (-1,)
    if len(data) - start != prod(shape):
        raise DataError(f"{path}: {len(data) - start:,} bytes do not fill the shape {shape}; truncated?")
    return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8, offset=start).reshape(shape))


class IdxSource(DataSource):
    """Four idx files: training images and labels, test images and labels; gzipped, else plain."""

    shape, classes, train, test = (1, 28, 28), 10, 60_000, 10_000

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        images, labels, test_images, test_labels = map(read_idx, paths)
        for i, tensor in enumerate((images, labels, test_images, test_labels)):
            if tensor.dim() == 0 or tuple(tensor.shape[1:]) != (() if i % 2 else self.shape[1:]):
                raise DataError(f"{paths[i]}: an array of shape {tuple(tensor.shape)}, which is wrong; fetch it again")
        return torch.cat([images, test_images]).unsqueeze(1), torch.cat([labels, test_labels]).long()


def idx_files(folder: str, mirrors: tuple[str, ...], facts: dict[str, tuple]) -> tuple[File, ...]:
    """Files from name -> (size and md5 gzipped, size and sha256 unpacked)."""
    return tuple(
        File(
            f"{folder}/raw/{name}.gz",
            packed,
            f"md5:{md5}",
            tuple(f"{mirror}{name}.gz" for mirror in mirrors),
            instead=File(f"{folder}/raw/{name}", plain, f"sha256:{sha256}"),
        )
        for name, (packed, md5, plain, sha256) in facts.items()
    )


@DATASETS.register("mnist")
class Mnist(IdxSource):
    """Handwritten digits (LeCun, Cortes, Burges), by torchvision's mirrors and checksums."""

    label = "MNIST"
    reference = (
        "LeCun et al. 1998, Gradient-based learning applied to document recognition, https://doi.org/10.1109/5.726791"
    )
    order = 8
    licence = "none stated"
    mean, std = (0.1307,), (0.3081,)
    class_names = tuple("0123456789")
    files = idx_files(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        {
            "train-images-idx3-ubyte": (
                9_912_422,
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                47_040_016,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            "train-labels-idx1-ubyte": (
                28_881,
                "d53e105ee54ea40749a09fcbcd1e9432",
                60_008,
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            "t10k-images-idx3-ubyte": (
                1_648_877,
                "9fb629c4189551a2d022fa330f9573f3",
                7_840_016,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            "t10k-labels-idx1-ubyte": (
                4_542,
                "ec29112dd5afa0611ce80d1b7f02629c",
                10_008,
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        },
    )


@DATASETS.register("fashion_mnist")
class FashionMnist(IdxSource):
    """Clothes (Zalando), by torchvision's mirror and checksums."""

    label = "Fashion-MNIST"
    reference = "Xiao et al. 2017, Fashion-MNIST: a Novel Image Dataset, https://arxiv.org/abs/1708.07747"
    order = 9
    licence = "MIT"
    mean, std = (0.2860,), (0.3530,)
    class_names = ("T-shirt/top", *"Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag".split(), "Ankle boot")
    files = idx_files(
        "FashionMNIST",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),  # offers no https
        {
            "train-images-idx3-ubyte": (
                26_421_880,
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                47_040_016,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            "train-labels-idx1-ubyte": (
                29_515,
                "25c81989df183df01b3e8a0aad5dffbe",
                60_008,
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            "t10k-images-idx3-ubyte": (
                4_422_102,
                "bef4ecab320f06d8554ea6380940ec79",
                7_840_016,
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            "t10k-labels-idx1-ubyte": (
                5_148,
                "bb300cfdad3c16e7a12a480ee83cd310",
                10_008,
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        },
    )


class ArrayUnpickler(pickle.Unpickler):
    """Reads dicts of numpy arrays and plain values; refuses every other class or function."""

    allowed = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # moved in numpy 2
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): codecs.encode,
    }

    def find_class(self, module: str, name: str):
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a data file")
        return self.allowed[module, name]


def read_cifar_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) and labels (N,) of a CIFAR-10 batch. Raises DataError for any other content."""
    try:
        with open(path, "rb") as stream:
            batch = ArrayUnpickler(stream, encoding="bytes").load()
        images = torch.from_numpy(batch[b"data"]).reshape(-1, 3, 32, 32)
        labels = torch.tensor(batch[b"labels"], dtype=torch.int64)
        if images.dtype != torch.uint8 or labels.shape != images.shape[:1]:
            raise ValueError(f"{images.dtype} images with labels of {tuple(labels.shape)}")
        return images, labels
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} is not a CIFAR-10 batch ({error})") from error


@DATASETS.register("cifar10")
class Cifar10(DataSource):
    """Small photographs (Krizhevsky, 2009), unpickled only after the md5 matched."""

    label = "CIFAR-10"
    reference = (
        "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images, "
        "https://www.cs.toronto.edu/~kriz/cifar.html"
    )
    order = 10
    licence = "none stated"
    shape, classes, train, test = (3, 32, 32), 10, 50_000, 10_000
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    files = tuple(
        File(
            f"cifar-10-batches-py/{name}",
            size,
            f"md5:{md5}",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        )
        for name, size, md5 in (
            ("data_batch_1", 31_035_704, "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", 31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", 31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", 31_035_696, "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", 31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
            ("test_batch", 31_035_526, "40351d587109b95175f43aff81a1287e"),
        )
    )

    def parse(self, paths: list[Path], config: DatasetConfig) -> tuple[Tensor, Tensor]:
        images, labels = zip(*map(read_cifar_batch, paths), strict=True)
        return torch.cat(images), torch.cat(labels)
