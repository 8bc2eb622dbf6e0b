import pytest
import torch
from safetensors.torch import save_file

from lpss.data import cache

TENSORS = {"x": torch.arange(6, dtype=torch.uint8).view(3, 2), "y": torch.tensor([0, 1, 0])}


def same(found):
    return found is not None and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_hit_and_miss(root):
    assert cache.read(root, "toy", "k") is None
    cache.write(root, "toy", "k", TENSORS)
    assert same(cache.read(root, "toy", "k"))
    assert cache.read(root, "toy", "other") is None and cache.read(root, "other", "k") is None
    assert [p.name for p in (root / ".parsed").iterdir()] == ["toy.safetensors"]


def test_a_new_key_replaces_the_old_file(root):
    cache.write(root, "toy", "old", TENSORS)
    cache.write(root, "toy", "new", TENSORS)
    assert cache.read(root, "toy", "old") is None and same(cache.read(root, "toy", "new"))


@pytest.mark.parametrize("damage", ["truncated", "rubbish", "empty", "other tensors", "no key"])
def test_a_damaged_file_counts_as_none_and_is_replaced(root, damage):
    cache.write(root, "toy", "k", TENSORS)
    path = root / ".parsed" / "toy.safetensors"
    if damage == "other tensors":
        save_file({"z": TENSORS["x"]}, path, {"key": "k"})
    elif damage == "no key":
        save_file(TENSORS, path)
    else:
        path.write_bytes({"truncated": path.read_bytes()[:-3], "rubbish": b"?" * 99, "empty": b""}[damage])
    assert cache.read(root, "toy", "k") is None
    cache.write(root, "toy", "k", TENSORS)
    assert same(cache.read(root, "toy", "k"))


def test_a_root_that_cannot_be_written_is_cached_at_home(root, tmp_path):
    (root / ".parsed").write_text("in the way")  # file modes would not stop a test that runs as root
    cache.write(root, "toy", "k", TENSORS)
    assert same(cache.read(root, "toy", "k"))
    assert len(list((tmp_path / "home" / ".cache" / "lpss-parsed").iterdir())) == 1
    other = tmp_path / "other"
    other.mkdir()
    assert cache.read(other, "toy", "k") is None, "two roots do not share a place at home"


def test_no_place_at_all_is_no_error(root, tmp_path):
    (root / ".parsed").write_text("in the way")
    (tmp_path / "home").write_text("in the way")
    cache.write(root, "toy", "k", TENSORS)
    assert cache.read(root, "toy", "k") is None


def test_the_key_follows_the_files_and_the_parser(root):
    path = root / "a"
    path.write_bytes(b"12")
    first = cache.key(root, [path], 1, ["md5:0"])
    assert first == cache.key(root, [path], 1, ["md5:0"])
    assert first != cache.key(root, [path], 2, ["md5:0"]) and first != cache.key(root, [path], 1, ["md5:1"])
    path.write_bytes(b"123")
    assert first != cache.key(root, [path], 1, ["md5:0"])
