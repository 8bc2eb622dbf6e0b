"""What a net is beside its weights."""

import json
from dataclasses import replace

import pytest
import torch

from lpss.data import load
from lpss.errors import UsageError
from lpss.registries import DATASETS
from lpss.train.description import Description
from lpss.train.resolve import resolve

PLAIN = Description({"name": "mlp", "hidden": [4]}, (3,), 2, False)
PIXELS = replace(PLAIN, input_shape=(2, 3, 3), pixels=True, mean=(0.1, 1 / 3), std=(1e-300, 2.0))


@pytest.mark.parametrize(
    "description",
    [PLAIN, PIXELS, replace(PLAIN, mean=(0.1,) * 3, std=(1 / 3,) * 3, class_names=("a", "é"), plugins=("one", "two"))],
)
def test_json_keeps_all_of_it(description):
    assert Description.from_dict(json.loads(json.dumps(description.to_dict()))) == description


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": {}},
        {"model": {"name": 3}},
        {"input_shape": None},
        {"input_shape": [0]},
        {"input_shape": ["3"]},
        {"classes": -1},
        {"classes": 2.0},
        {"pixels": None},
        {"pixels": True},
        {"mean": [0.0] * 3},
        {"std": [0.0] * 3},
        {"mean": [0.0] * 2, "std": [1.0] * 2},
        {"mean": "abc", "std": "abc"},
        {"class_names": ["a"]},
        {"unknown": 1},
    ],
)
def test_what_is_no_description_is_refused(change):
    with pytest.raises((ValueError, TypeError, LookupError)):
        Description.from_dict(PLAIN.to_dict() | change)


@pytest.mark.parametrize(
    ("dataset", "standardised"), [("dataset=digits", False), ("dataset=synthetic", True), ("dataset=letter", True)]
)
def test_tables_are_described_by_what_their_columns_went_through(composed, dataset, standardised, request):
    config = resolve(composed(dataset)).config
    root = request.getfixturevalue("real_uci") if "letter" in dataset else None
    data = load(DATASETS.options(config.dataset), root)
    described = Description.of(config, data)
    assert described.input_shape == data.input_shape and described.class_names == data.class_names
    assert not described.pixels and (described.mean is not None) == standardised
    if standardised:
        plain = load(DATASETS.options(config.dataset), root, standardised=False).test.x.double()
        again = (plain - torch.tensor(described.mean).double()) / torch.tensor(described.std).double()
        assert torch.allclose(again.float(), data.test.x, atol=1e-6)


def test_images_are_described_by_their_channels(composed):
    config = resolve(composed("dataset=synthetic", "dataset.image_shape=[2,8,8]")).config
    described = Description.of(config, load(DATASETS.options(config.dataset)))
    assert described.pixels and described.mean == (0.5, 0.5) and described.std == (0.2, 0.2)
    assert described.class_names is None


def test_building_draws_no_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert sum(weight.numel() for weight in PLAIN.build().parameters()) == 3 * 4 + 4 + 4 * 2 + 2
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_model_is_a_line():
    with pytest.raises(UsageError, match="unknown model 'other'"):
        replace(PLAIN, model={"name": "other"}).build()
    with pytest.raises(UsageError, match="model 'other' is a plugin's: import one, two first"):
        replace(PLAIN, model={"name": "other"}, plugins=("one", "two")).build()
