import torch

from lpss.data import DATASETS, load


def test_digits(tmp_path):
    dataset = load("digits", tmp_path)
    assert dataset.train.x.shape == (1_297, 64) and dataset.test.x.shape == (500, 64)
    assert dataset.classes == 10 and dataset.train.x.dtype == torch.float32
    assert dataset.train.x.min() == 0 and dataset.train.x.max() == 1
    assert not list(tmp_path.glob(".parsed")), "there is nothing to cache"


def test_the_split_follows_its_seed(tmp_path):
    other = load(DATASETS["digits"].Config("digits", split_seed=1), tmp_path)
    assert not torch.equal(load("digits", tmp_path).test.y, other.test.y)


def test_status_is_built_in(tmp_path):
    assert DATASETS["digits"]().status(tmp_path).state == "built in"
