import pytest
import torch

from lpss.data.augment import AugmentConfig, crop, cutout, flip
from lpss.errors import UsageError

SQUARE = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8)


def images(count=1, channels=1):
    return SQUARE.expand(count, channels, 3, 3)


def test_crop_in_the_middle_is_the_image():
    for mode in ("zeros", "reflect"):
        assert torch.equal(crop(images(), torch.tensor([1]), torch.tensor([1]), 1, mode), images())


def test_crop_with_zeros_by_eye():
    cut = crop(images(2), torch.tensor([0, 2]), torch.tensor([0, 1]), 1)
    assert cut[0, 0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    assert cut[1, 0].tolist() == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert cut.dtype == torch.uint8


def test_crop_with_reflection_by_eye():
    cut = crop(images(2), torch.tensor([0, 4]), torch.tensor([2, 0]), 2, "reflect")
    assert cut[0, 0].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert cut[1, 0].tolist() == [[9, 8, 7], [6, 5, 4], [3, 2, 1]]


@pytest.mark.parametrize(("mode", "name"), [("zeros", "constant"), ("reflect", "reflect")])
def test_crop_is_a_window_of_the_padded_image(mode, name):
    x = torch.rand(12, 3, 5, 7)
    top, left = torch.randint(7, (12,)), torch.randint(7, (12,))
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3), mode=name)
    wanted = [padded[i, :, t : t + 5, s : s + 7] for i, (t, s) in enumerate(zip(top, left, strict=True))]
    assert torch.equal(crop(x, top, left, 3, mode), torch.stack(wanted))


def test_flip_by_eye():
    turned = flip(images(2, channels=2), torch.tensor([False, True]))
    assert torch.equal(turned[0], images(1, 2)[0])
    assert turned[1, 1].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]


@pytest.mark.parametrize(
    ("row", "column", "side", "wanted"),
    [
        (1, 1, 1, [[1, 2, 3], [4, 0, 6], [7, 8, 9]]),
        (1, 1, 2, [[0, 0, 3], [0, 0, 6], [7, 8, 9]]),
        (0, 2, 3, [[1, 0, 0], [4, 0, 0], [7, 8, 9]]),
        (2, 0, 2, [[1, 2, 3], [0, 5, 6], [0, 8, 9]]),
    ],
)
def test_cutout_by_eye(row, column, side, wanted):
    cut = cutout(images(1, 2), torch.tensor([row]), torch.tensor([column]), side)
    assert cut[0, 0].tolist() == wanted and cut[0, 1].tolist() == wanted


def test_cutout_has_a_place_for_each_image():
    cut = cutout(images(2), torch.tensor([0, 2]), torch.tensor([0, 2]), 1)
    assert (cut == 0).nonzero().tolist() == [[0, 0, 0, 0], [1, 0, 2, 2]]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop_pad", -1),
        ("crop_pad", 2.5),
        ("crop_pad", True),
        ("cutout", -2),
        ("cutout", "8"),
        ("pad_mode", "mirror"),
        ("flip", 1),
        ("crop", 4),
    ],
)
def test_wrong_values_and_keys_are_named(key, value):
    with pytest.raises(UsageError, match=rf"dataset\.augment\.{key}"):
        AugmentConfig.of({key: value})


def test_a_near_miss_is_guessed():
    with pytest.raises(UsageError, match="did you mean 'crop_pad'"):
        AugmentConfig.of({"crop_padd": 4})


def test_of_an_empty_mapping_does_nothing():
    assert AugmentConfig.of({}) == AugmentConfig() and not AugmentConfig().active
    assert AugmentConfig.of({"cutout": 2}).active


@pytest.mark.parametrize(
    ("options", "shape", "key"),
    [
        ({"flip": True}, (20,), "flip"),
        ({"crop_pad": 1}, (20,), "crop_pad"),
        ({"crop_pad": 4}, (1, 8, 4), "crop_pad"),
        ({"cutout": 5}, (1, 8, 4), "cutout"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(options, shape, key):
    with pytest.raises(UsageError, match=f"dataset.augment.{key}"):
        AugmentConfig(**options).check(shape)


def test_what_fits_is_accepted():
    AugmentConfig().check((20,))
    AugmentConfig(3, "reflect", True, 4).check((1, 8, 4))
