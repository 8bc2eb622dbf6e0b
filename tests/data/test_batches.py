import pytest
import torch

from lpss.data import batches
from lpss.data.augment import AugmentConfig
from lpss.data.batches import Batches, eval_batches
from lpss.data.dataset import Split
from lpss.errors import UsageError

TABLE = Split(torch.arange(20, dtype=torch.float32).view(10, 2), torch.arange(10))
PIXELS = torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = Split(PIXELS, torch.arange(10))
MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)
AUGMENT = AugmentConfig(2, "reflect", True, 3)


@pytest.fixture(params=["at once", "by batch"])
def shuffling(request, monkeypatch):
    """Small sets are shuffled whole, large ones batch by batch; both must give the same."""
    if request.param == "by batch":
        monkeypatch.setattr(batches, "SHUFFLE_WHOLE", 0)


def test_an_epoch_is_a_permutation_less_the_last_incomplete_batch(shuffling):
    walk = Batches(TABLE, 3, seed=0)
    labels = [y for _, y in walk.epoch(0)]
    assert len(walk) == len(labels) == 3 and all(len(y) == 3 for y in labels)
    seen = torch.cat(labels)
    assert len(set(seen.tolist())) == 9 and seen.tolist() != sorted(seen.tolist())


def test_rows_keep_their_labels_and_tables_pass_untouched(shuffling):
    for x, y in Batches(TABLE, 5, seed=1, augment=AugmentConfig()).epoch(0):
        assert torch.equal(x, TABLE.x[y])


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        return torch.cat([y for _, y in Batches(TABLE, 5, seed=seed).epoch(epoch)]).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(*pair)) for pair in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_both_ways_of_shuffling_agree(monkeypatch):
    def epoch():
        return list(Batches(IMAGES, 4, seed=3, mean=MEAN, std=STD, augment=AUGMENT).epoch(2))

    whole = epoch()
    monkeypatch.setattr(batches, "SHUFFLE_WHOLE", 0)
    for (x, y), (other_x, other_y) in zip(whole, epoch(), strict=True):
        assert torch.equal(x, other_x) and torch.equal(y, other_y)


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_can_be_entered_at_any_batch(shuffling, start):
    walk = Batches(IMAGES, 3, seed=5, mean=MEAN, std=STD, augment=AUGMENT)
    rest = list(walk.epoch(4))[start:]
    resumed = list(Batches(IMAGES, 3, seed=5, mean=MEAN, std=STD, augment=AUGMENT).epoch(4, start=start))
    assert len(resumed) == 3 - start
    for (x, y), (other_x, other_y) in zip(rest, resumed, strict=True):
        assert torch.equal(x, other_x) and torch.equal(y, other_y)


def test_images_are_normalised():
    wanted = (PIXELS.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    for x, y in Batches(IMAGES, 5, seed=0, mean=MEAN, std=STD).epoch(0):
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), wanted[y], rtol=0, atol=1e-6)


def test_crop_and_flip_differ_between_images_and_epochs():
    same = Split(PIXELS[:1].expand(64, -1, -1, -1), torch.zeros(64, dtype=torch.int64))
    walk = Batches(same, 64, seed=0, mean=MEAN, std=STD, augment=AugmentConfig(crop_pad=2, flip=True))
    (first, _), (second, _) = next(walk.epoch(0)), next(walk.epoch(1))
    kinds = len(torch.unique(first.flatten(1), dim=0))
    assert 20 < kinds <= 50, "25 windows, each mirrored or not"
    assert not torch.equal(first, second)


def test_flip_mirrors_about_half_of_the_images():
    same = Split(PIXELS[:1].expand(400, -1, -1, -1), torch.zeros(400, dtype=torch.int64))
    x, _ = next(Batches(same, 400, seed=0, mean=MEAN, std=STD, augment=AugmentConfig(flip=True)).epoch(0))
    plain, _ = next(eval_batches(same, 1, mean=MEAN, std=STD))
    mirrored = (x == plain.flip(-1)).flatten(1).all(1)
    assert torch.equal((x == plain).flatten(1).all(1), ~mirrored)
    assert 160 < mirrored.sum() < 240


def test_cutout_is_the_mean_colour():
    white = Split(torch.full((40, 3, 8, 8), 255, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    x, _ = next(Batches(white, 40, seed=0, mean=MEAN, std=STD, augment=AugmentConfig(cutout=3)).epoch(0))
    holes = (x == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 2]) and holes.min() >= 4 and holes.max() == 9


@pytest.mark.parametrize("size", [0, 11, -3])
def test_a_batch_size_that_does_not_fit_is_named(size):
    with pytest.raises(UsageError, match=f"train.batch_size={size}"):
        Batches(TABLE, size, seed=0)


def test_a_table_is_not_augmented():
    with pytest.raises(UsageError, match="dataset.augment.flip"):
        Batches(TABLE, 5, seed=0, augment=AugmentConfig(flip=True))


def test_eval_batches_keep_order_and_drop_nothing():
    parts = list(eval_batches(IMAGES, 4, mean=MEAN, std=STD))
    assert [len(y) for _, y in parts] == [4, 4, 2]
    assert torch.cat([y for _, y in parts]).tolist() == list(range(10))
    wanted = (PIXELS.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(torch.cat([x for x, _ in parts]), wanted, rtol=0, atol=1e-6)
    assert torch.equal(next(eval_batches(TABLE, 99))[0], TABLE.x)


@pytest.mark.gpu
def test_the_device_does_not_change_the_batches():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    options = {"seed": 1, "mean": MEAN, "std": STD, "augment": AUGMENT}
    for (x, y), (gpu_x, gpu_y) in zip(
        Batches(IMAGES, 4, **options).epoch(1),
        Batches(IMAGES, 4, device="cuda", **options).epoch(1),
        strict=True,
    ):
        assert gpu_x.is_cuda and torch.equal(y, gpu_y.cpu())
        torch.testing.assert_close(x, gpu_x.cpu(), rtol=0, atol=1e-6)
