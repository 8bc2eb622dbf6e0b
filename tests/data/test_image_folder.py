"""Images of one's own in folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from lpss.data import load
from lpss.data.image_folder import ImageFolderConfig
from lpss.data.own_images import read_image
from lpss.errors import LpssError

COLOURS = {"cat": (200, 10, 10), "dog": (10, 10, 200)}


def draw(path, colour, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(options.pop("mode", "RGB"), size, colour).save(path, **options)


@pytest.fixture
def photos(tmp_path):
    """A folder of ten cats and ten dogs, all of one colour."""
    for name, colour in COLOURS.items():
        for i in range(10):
            draw(tmp_path / "photos" / name / f"{i}.png", colour)
    (tmp_path / "photos" / "cat" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def read(folder, tmp_path, **options):
    return load(ImageFolderConfig("image_folder", path=str(folder), **options), tmp_path / "data")


def test_a_folder_a_class(photos, tmp_path):
    data = read(photos, tmp_path, size=16)
    assert data.class_names == ("cat", "dog") and data.input_shape == (3, 16, 16) and data.name == "photos"
    assert torch.bincount(data.train.y).tolist() == [8, 8] and torch.bincount(data.test.y).tolist() == [2, 2]
    for split in (data.train, data.test):
        for image, label in zip(split.x, split.y, strict=True):
            assert tuple(image[:, 3, 3].tolist()) == COLOURS[data.class_names[label]]
    assert data.mean[0] == pytest.approx(105 / 255)
    assert read(photos, tmp_path, size=8, grey=True).input_shape == (1, 8, 8)


def test_images_are_read_once(photos, tmp_path, monkeypatch):
    first = read(photos, tmp_path)
    monkeypatch.setattr("lpss.data.image_folder.read_image", None)
    assert torch.equal(read(photos, tmp_path).train.x, first.train.x)
    draw(photos / "cat" / "0.png", (0, 0, 0))
    with pytest.raises(TypeError):  # read again, as a file has changed
        read(photos, tmp_path)


@pytest.mark.parametrize("name", ["test", "val"])
def test_folders_say_which_images_test(photos, tmp_path, name):
    (tmp_path / "set").mkdir()
    photos.rename(tmp_path / "set" / "train")
    draw(tmp_path / "set" / name / "dog" / "x.jpg", COLOURS["dog"])
    data = read(tmp_path / "set", tmp_path)
    assert (len(data.train), len(data.test)) == (20, 1) and data.test.y.tolist() == [1]
    data = read(tmp_path / "set" / "train", tmp_path, test_path=str(tmp_path / "set" / name))
    assert (len(data.train), len(data.test)) == (20, 1)
    draw(tmp_path / "set" / name / "emu" / "x.jpg", (0, 0, 0))
    with pytest.raises(LpssError, match="no training row has the label 'emu'"):
        read(tmp_path / "set", tmp_path)


def test_images_are_cut_to_their_middle_and_turned(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", (3, 10, 10)) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    top = np.zeros((8, 8, 3), np.uint8)
    top[:4] = 255
    Image.fromarray(top).save(tmp_path / "b.png", exif=exif)
    turned = read_image(tmp_path / "b.png", (1, 8, 8))[0]
    assert (turned[:, 4:] == 255).all() and (turned[:, :4] == 0).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16", "CMYK"])
def test_images_of_any_kind_are_read(tmp_path, mode):
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (9, 5)).save(file)
    assert read_image(file, (3, 4, 4)).shape == (3, 4, 4)


def test_a_broken_image_and_a_folder_of_something_else_are_a_line(photos, tmp_path):
    (photos / "cat" / "3.png").write_bytes((photos / "cat" / "3.png").read_bytes()[:40])
    with pytest.raises(LpssError, match="3.png cannot be read as an image"):
        read(photos, tmp_path)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(LpssError, match="its folders cat hold no images"):
        read(tmp_path / "empty", tmp_path)
    with pytest.raises(LpssError, match="a folder with a folder for each class is expected"):
        read(tmp_path / "empty" / "cat", tmp_path)
    with pytest.raises(LpssError, match="a folder with a folder for each class is expected"):
        read(photos / "cat" / "0.png", tmp_path)
    with pytest.raises(LpssError, match="dataset.size=0"):
        read(photos, tmp_path, size=0)
