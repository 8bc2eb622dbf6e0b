import pytest
import torch

from lpss.data import DATASETS, load
from lpss.errors import UsageError


def synthetic(**options):
    return load(DATASETS["synthetic"].Config("synthetic", **options))


def test_table():
    dataset = synthetic(features=7, classes=3, train_size=90, test_size=30)
    assert dataset.train.x.shape == (90, 7) and dataset.test.x.shape == (30, 7)
    assert torch.bincount(dataset.train.y).tolist() == [30, 30, 30]
    assert torch.bincount(dataset.test.y).tolist() == [10, 10, 10]
    assert dataset.train.x.mean(0).abs().max() < 1e-5 and dataset.mean is None


def test_images():
    dataset = synthetic(image_shape=[2, 5, 6], train_size=40, test_size=8)
    assert dataset.input_shape == (2, 5, 6) and dataset.train.x.dtype == torch.uint8
    assert len(dataset.mean) == len(dataset.std) == 2
    assert 100 < dataset.train.x.float().mean() < 156


def test_data_seed_and_noise():
    assert torch.equal(synthetic().train.x, synthetic().train.x)
    assert not torch.equal(synthetic().train.x, synthetic(data_seed=1).train.x)
    clean = synthetic(noise=0.0)
    for label in range(4):
        rows = clean.train.x[clean.train.y == label]
        assert torch.equal(rows, rows[:1].expand_as(rows)), "without noise a class is its centre"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("features", 0),
        ("classes", 1),
        ("train_size", 3),
        ("test_size", 0),
        ("noise", -1.0),
        ("image_shape", [8, 8]),
        ("data_seed", -1),
    ],
)
def test_wrong_options_are_named(key, value):
    with pytest.raises(UsageError, match=f"dataset.{key}="):
        synthetic(**{key: value})
