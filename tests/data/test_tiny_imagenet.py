import zipfile

import pytest
import torch
from PIL import Image

from lpss.data import DATASETS, load, store, tiny_imagenet
from lpss.data.tiny_imagenet import FULL
from lpss.errors import DataError

GREYS = {"n02": 40, "n01": 200}  # not in sorted order, as in the real wnids.txt


def picture(path, grey, mode="RGB", side=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), grey).convert(mode).save(path, "JPEG")


@pytest.fixture
def tiny(tmp_path):
    """Two classes of two images in one grey, the second a grey-scale JPEG; val is flat."""
    folder = tmp_path / "tiny-imagenet-2"
    for wnid, grey in GREYS.items():
        picture(folder / "train" / wnid / "images" / f"{wnid}_0.JPEG", grey)
        picture(folder / "train" / wnid / "images" / f"{wnid}_1.JPEG", grey, mode="L")
    picture(folder / "val" / "images" / "val_0.JPEG", GREYS["n02"])
    picture(folder / "val" / "images" / "val_1.JPEG", GREYS["n01"])
    annotations = "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n"
    (folder / "val" / "val_annotations.txt").write_text(annotations)
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in GREYS))
    return folder


def config(folder):
    return DATASETS["tiny_imagenet"].Config("tiny_imagenet", folder=folder)


def read(tiny):
    return load(config(tiny.name), tiny.parent, download=False)


def test_classes_are_sorted_and_grey_images_have_three_channels(tiny):
    dataset = read(tiny)
    assert dataset.classes == 2 and dataset.train.x.shape == (4, 3, 64, 64)
    assert dataset.train.y.tolist() == [0, 0, 1, 1] and dataset.test.y.tolist() == [1, 0]
    for split in (dataset.train, dataset.test):
        wanted = torch.tensor([200, 40])[split.y].view(-1, 1, 1, 1)
        assert (split.x.int() - wanted).abs().max() <= 3, "each image has the grey of its class"


def test_images_may_lie_in_the_class_folder_itself(tiny):
    nested = read(tiny)
    for wnid in GREYS:
        images = tiny / "train" / wnid / "images"
        for path in images.iterdir():
            path.rename(images.parent / path.name)
        images.rmdir()
    assert torch.equal(read(tiny).train.x, nested.train.x)


def test_the_folder_that_is_there_is_named(tiny):
    with pytest.raises(DataError, match="not in .*dataset.folder=tiny-imagenet-2"):
        load("tiny_imagenet", tiny.parent, download=False)


def break_size(tiny):
    picture(tiny / "train" / "n01" / "images" / "n01_0.JPEG", 9, side=32)
    return r"n01_0.JPEG: \(32, 32\) pixels"


def break_image(tiny):
    (tiny / "train" / "n02" / "images" / "n02_1.JPEG").write_bytes(b"rubbish")
    return "n02_1.JPEG is not a readable JPEG"


def lose_training_image(tiny):
    (tiny / "train" / "n02" / "images" / "n02_1.JPEG").unlink()
    return "n02: 1 images, unlike the others"


def lose_test_image(tiny):
    (tiny / "val" / "images" / "val_1.JPEG").unlink()
    return "val_annotations.txt, line 2: the image 'val_1.JPEG' is missing"


def lose_annotations(tiny):
    (tiny / "val" / "val_annotations.txt").unlink()
    return "val_annotations.txt cannot be read"


def lose_class(tiny):
    (tiny / "wnids.txt").write_text("n02\n")
    return "wnids.txt: not a list of two or more classes"


def rename_class(tiny):
    (tiny / "wnids.txt").write_text("n02\nn03\n")
    (tiny / "train" / "n01").rename(tiny / "train" / "n03")
    return "line 2: the class 'n01' is not in wnids.txt"


def claim_to_be_full(tiny):
    tiny.rename(tiny.parent / FULL)
    return "wnids.txt: 2 classes where 200"


@pytest.mark.parametrize(
    "damage",
    [
        break_size,
        break_image,
        lose_training_image,
        lose_test_image,
        lose_annotations,
        lose_class,
        rename_class,
        claim_to_be_full,
    ],
)
def test_damage_is_named(tiny, damage):
    problem = damage(tiny)
    folder = tiny.name if tiny.exists() else FULL
    with pytest.raises(DataError, match=problem):
        load(config(folder), tiny.parent, download=False)


def test_a_changed_image_is_read_anew(tiny):
    before = read(tiny)
    picture(tiny / "val" / "images" / "val_0.JPEG", 90)
    assert (read(tiny).test.x[0].int() - before.test.x[0].int()).abs().max() > 40


def archive(tiny, target, names=None):
    """A zip of the folder under its full name."""
    with zipfile.ZipFile(target, "w") as packed:
        for path in tiny.rglob("*"):
            packed.write(path, f"{FULL}/{path.relative_to(tiny)}")
        for name in names or ():
            packed.writestr(name, b"x")
    kind = store.checksum(target, "md5")
    return store.File(f"{FULL}.zip", target.stat().st_size, kind)


def test_download(tiny, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    file = archive(tiny, tmp_path / "mirror" / f"{FULL}.zip")
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE", file)
    monkeypatch.setenv("LPSS_DATA_MIRROR", str(tmp_path / "mirror"))
    root = tmp_path / "root"
    with pytest.raises(DataError, match="2 classes where 200"):  # what arrived is checked like any other folder
        DATASETS["tiny_imagenet"]().fetch(root)
    assert len(list((root / FULL / "train").rglob("*.JPEG"))) == 4
    assert [p.name for p in root.iterdir()] == [FULL], "no leftovers"


@pytest.mark.parametrize("kind", ["altered", "outside"])
def test_a_bad_archive_leaves_nothing_behind(tiny, tmp_path, monkeypatch, kind):
    (tmp_path / "mirror").mkdir()
    file = archive(tiny, tmp_path / "mirror" / f"{FULL}.zip", ["../../outside"] if kind == "outside" else None)
    if kind == "altered":
        file = store.File(file.path, file.size, "md5:" + "0" * 32)
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE", file)
    monkeypatch.setenv("LPSS_DATA_MIRROR", str(tmp_path / "mirror"))
    root = tmp_path / "root"
    with pytest.raises(DataError, match="checksum is wrong" if kind == "altered" else "leads outside the folder"):
        load("tiny_imagenet", root)
    assert not list(root.iterdir()) and not (tmp_path / "outside").exists()


def test_status(tiny):
    source = DATASETS["tiny_imagenet"]()
    assert source.status(tiny.parent / "nowhere").state == "missing"
    status = source.status(tiny.parent)
    assert status.state == "present" and "dataset.folder=tiny-imagenet-2" in status.detail and status.size > 0
    lose_test_image(tiny)
    assert source.status(tiny.parent).state == "altered"


def test_the_real_fifty_classes(real):
    dataset = load(config("tiny-imagenet-50"), real("tiny-imagenet-50"), download=False)
    assert dataset.train.x.shape == (25_000, 3, 64, 64) and dataset.test.x.shape == (2_500, 3, 64, 64)
    assert dataset.classes == 50 and dataset.train.x.dtype == torch.uint8
    assert torch.bincount(dataset.train.y).tolist() == [500] * 50
    assert torch.bincount(dataset.test.y).tolist() == [50] * 50
    channels = (dataset.train.x[::25].float() / 255).mean((0, 2, 3)).tolist()
    assert channels == pytest.approx(dataset.mean, abs=0.05)
