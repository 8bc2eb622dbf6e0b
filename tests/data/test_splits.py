import numpy as np
import pytest
import torch

from lpss.data.dataset import Dataset, Split
from lpss.data.splits import held_out, hold_out
from lpss.errors import UsageError


def numbered(counts, name="toy"):
    """Row i holds the number i; class c occurs counts[c] times, in turns."""
    y = torch.tensor([c for turn in range(max(counts)) for c, n in enumerate(counts) if turn < n])
    x = torch.arange(len(y), dtype=torch.float32)[:, None]
    return Dataset(name, Split(x, y), Split(x[:2] - 100, y[:2]), len(counts))


def test_hold_out_takes_the_same_share_of_every_class_and_drops_the_test_split():
    part = hold_out(numbered([60, 30, 10]), 0.2, seed=1)
    assert torch.bincount(part.train.y).tolist() == [48, 24, 8]
    assert torch.bincount(part.test.y).tolist() == [12, 6, 2]
    rows = torch.cat([part.train.x, part.test.x]).flatten()
    assert sorted(rows.tolist()) == list(range(100))
    assert part.train.x.flatten().diff().min() > 0, "the order of the training rows is kept"


def test_hold_out_follows_its_seed():
    dataset = numbered([50, 50])
    first, again, other = (hold_out(dataset, 0.3, seed).test.x for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_hold_out_leaves_each_class_in_the_training_split():
    part = hold_out(numbered([9, 2, 1]), 0.9, seed=0)
    assert torch.bincount(part.train.y, minlength=3).tolist() == [1, 1, 1]
    assert torch.bincount(part.test.y, minlength=3).tolist() == [8, 1, 0]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_hold_out_refuses_what_is_no_fraction(fraction):
    with pytest.raises(UsageError, match="train.validation"):
        hold_out(numbered([5, 5]), fraction, seed=0)


def test_the_rows_held_out_of_each_stratum_are_the_same_for_ever():
    strata = np.array([0, 1] * 5 + [2])
    # RandomState(0).permutation(11) = 4 9 2 10 6 1 7 8 3 0 5, which numpy promises never to change
    assert np.flatnonzero(held_out(strata, 0.4, seed=0)).tolist() == [1, 2, 4, 9]
    assert not held_out(np.array([], dtype=int), 0.5, seed=0).size
