"""Which rows train and which are held out: random orders and shares of every stratum, the same for ever for a seed."""

from dataclasses import replace

import numpy as np
import torch

from lpss.data.dataset import Dataset
from lpss.errors import UsageError


def permutation(count: int, seed: int) -> np.ndarray:
    """A random order of `count` rows. RandomState's stream never changes: a seed gives the same split for ever."""
    return np.random.RandomState(seed).permutation(count)


def held_out(strata: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """bool (N,), True for about `fraction` of the rows of each stratum, drawn at random.

    strata: whole numbers from 0, (N,). One of two rows or more is in both parts, one of a single row is not held out.
    """
    held = np.zeros(len(strata), dtype=bool)
    shuffled = permutation(len(strata), seed)
    for stratum in range(strata.max(initial=-1) + 1):
        rows = shuffled[strata[shuffled] == stratum]
        held[rows[: min(len(rows) - 1, max(1, round(fraction * len(rows))))]] = True
    return held


def checked_seed(key: str, seed: int) -> int:
    if not 0 <= seed < 2**32:
        raise UsageError(f"dataset.{key}={seed}: a seed is a whole number from 0 to 2**32 - 1")
    return seed


def hold_out(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Replace the test split, which is dropped, by a part of the training rows, drawn class by class.

    Both parts keep the training order; a class with two rows or more is in both. Standardisation stays
    that of the whole training split. Raises UsageError unless 0 < fraction < 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"train.validation={fraction}: the held-out fraction must lie between 0 and 1")
    held = held_out(dataset.train.y.numpy(), fraction, seed)
    parts = (torch.from_numpy(np.flatnonzero(mask)) for mask in (~held, held))
    train, validation = (dataset.train.take(part) for part in parts)
    return replace(dataset, train=train, test=validation)
