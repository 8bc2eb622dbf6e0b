import math
import random

import pytest

from lpss.errors import UsageError
from lpss.sparse.distributions import DISTRIBUTIONS, active_counts

SMALL = {"a": (4, 5), "b": (10, 6), "c": (2, 10)}  # 20 + 60 + 20 = 100 weights


def test_uniform_by_hand():
    assert active_counts(SMALL, 0.5, "uniform") == {"a": 10, "b": 30, "c": 10}
    assert active_counts(SMALL, 0.0, "uniform") == {"a": 20, "b": 60, "c": 20}
    # 34 in all; 6.8 + 20.4 + 6.8: what rounding down leaves goes to the largest remainders
    assert active_counts(SMALL, 0.66, "uniform") == {"a": 7, "b": 20, "c": 7}


def test_er_by_hand():
    # density ~ (in + out) / (in out), so counts ~ in + out: 9, 16, 12 of 37; 30 active: 7.30, 12.97, 9.73
    assert active_counts(SMALL, 0.7, "er") == {"a": 7, "b": 13, "c": 10}


def test_er_ignores_the_kernel_and_erk_counts_it():
    shapes = {"conv": (4, 2, 3, 3), "fc": (8, 9)}  # 72 weights each
    # er: conv density ~ 6/8, fc ~ 17/72 (that is, counts 54 : 17 of 72): 14 active: 10.65, 3.35
    assert active_counts(shapes, 1 - 14 / 144, "er") == {"conv": 11, "fc": 3}
    # erk: conv ~ (4 + 2 + 3 + 3) / 72, fc ~ 17 / 72: 12 and 17 of 29
    assert active_counts(shapes, 1 - 29 / 144, "erk") == {"conv": 12, "fc": 17}


def test_a_layer_that_would_be_denser_than_dense_hands_its_surplus_on():
    # er counts ~ 3, 20, 30 of 53: of 36 active the first would take 2.04 > 2, so the others share 34 as 20 : 30
    shapes = {"tiny": (1, 2), "mid": (10, 10), "big": (10, 20)}
    assert active_counts(shapes, 1 - 36 / 302, "er") == {"tiny": 2, "mid": 14, "big": 20}
    # 200 active: tiny 2 and, of 198, mid 79.2 and big 118.8
    assert active_counts(shapes, 1 - 200 / 302, "er") == {"tiny": 2, "mid": 79, "big": 119}
    # 280 active: mid is capped too (111.2 > 100), big takes the other 178
    assert active_counts(shapes, 1 - 280 / 302, "er") == {"tiny": 2, "mid": 100, "big": 178}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_exact_totals_of_random_nets(distribution):
    rng = random.Random(0)
    for _ in range(200):
        shapes = {}
        for index in range(rng.randint(1, 8)):
            kernel = rng.choice([(), (1, 1), (3, 3), (5,)])
            shapes[str(index)] = (rng.randint(1, 40), rng.randint(1, 40), *kernel)
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        sparsity = rng.choice([0.0, 0.1, 0.5, 0.8, 0.9, 0.95, 0.99, rng.random()])
        counts = active_counts(shapes, sparsity, distribution)
        assert sum(counts.values()) == round((1 - sparsity) * sum(sizes.values()))
        assert all(0 <= counts[name] <= sizes[name] for name in shapes) and list(counts) == list(shapes)
        if distribution == "uniform":
            assert all(abs(counts[name] - (1 - sparsity) * sizes[name]) < 1.001 for name in shapes)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_wrong_sparsity(sparsity):
    with pytest.raises(UsageError, match=rf"sparsity must be in \[0, 1\), got {sparsity}"):
        active_counts(SMALL, sparsity, "uniform")


def test_unknown_distribution():
    with pytest.raises(UsageError, match="'earth'; known: uniform, er, erk"):
        active_counts(SMALL, 0.5, "earth")
