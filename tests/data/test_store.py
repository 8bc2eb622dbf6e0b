import gzip
import hashlib
import threading
import zipfile

import pytest

from lpss.data import store
from lpss.data.store import File
from lpss.errors import DataError

BODY = bytes(range(256)) * 4000


def file(path, content, *urls, kind="sha256", instead=None):
    return File(path, len(content), f"{kind}:{hashlib.new(kind, content).hexdigest()}", urls, instead)


def names(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def test_download(web, root):
    web.pages["/a.data"] = BODY
    wanted = file("uci/a.data", BODY, f"{web.address}/a.data")
    assert store.locate("toy", root, [wanted], download=True) == [root / "uci/a.data"]
    assert (root / "uci/a.data").read_bytes() == BODY and names(root) == ["uci/a.data"]
    store.locate("toy", root, [wanted], download=True)
    assert len(web.asked) == 1, "what is there is not fetched again"


def test_a_cut_off_download_is_resumed(web, root):
    web.pages["/a.data"], web.cut["/a.data"] = BODY, 300_000
    store.fetch("toy", root, [file("a.data", BODY, f"{web.address}/a.data")])
    assert (root / "a.data").read_bytes() == BODY
    assert web.asked == [("/a.data", None), ("/a.data", "bytes=300000-")]


def test_a_server_without_ranges_starts_again(web, root):
    web.ranges = False
    web.pages["/a.data"], web.cut["/a.data"] = BODY, 300_000
    store.fetch("toy", root, [file("a.data", BODY, f"{web.address}/a.data")])
    assert (root / "a.data").read_bytes() == BODY and len(web.asked) == 2


def test_a_busy_server_is_asked_again(web, root):
    web.pages["/a.data"], web.broken["/a.data"] = BODY, 2
    store.fetch("toy", root, [file("a.data", BODY, f"{web.address}/a.data")])
    assert len(web.asked) == 3 and names(root) == ["a.data"]


def test_a_redirect_is_followed(web, root):
    web.pages["/new/a.data"], web.moved["/a.data"] = BODY, "/new/a.data"
    store.fetch("toy", root, [file("a.data", BODY, f"{web.address}/a.data")])
    assert names(root) == ["a.data"]


def test_the_second_address_serves_where_the_first_fails(web, root):
    web.pages["/b/a.data"] = BODY
    store.fetch("toy", root, [file("a.data", BODY, f"{web.address}/gone/a.data", f"{web.address}/b/a.data")])
    assert [path for path, _ in web.asked] == ["/gone/a.data", "/b/a.data"] and names(root) == ["a.data"]


def test_an_archive_is_fetched_once_for_all_its_files(web, root, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("one.data", b"1")
        archive.writestr("folder/two.data", b"22")
    web.pages["/p+q.zip"] = (tmp_path / "p.zip").read_bytes()
    files = [file(f"toy/{n}.data", c, f"{web.address}/p+q.zip") for n, c in (("one", b"1"), ("two", b"22"))]
    store.fetch("toy", root, files)
    assert len(web.asked) == 1 and names(root) == ["toy/one.data", "toy/two.data"]


def refused(web, root, content=BODY, url="a.data"):
    with pytest.raises(DataError) as caught:
        store.fetch("toy", root, [file("uci/a.data", content, f"{web.address}/{url}")])
    assert not names(root), "nothing is left behind"
    message = str(caught.value)
    assert "toy: uci/a.data is not in" in message and "lpss-data" in message and "\n" not in message
    return message


def test_a_wrong_checksum_leaves_nothing_behind(web, root):
    web.pages["/a.data"] = BODY[:-1] + b"x"
    assert "checksum of a.data is wrong" in refused(web, root)


def test_a_missing_page(web, root):
    assert "HTTP 404" in refused(web, root)
    assert len(web.asked) == 1, "asking again would be in vain"


def test_an_archive_without_the_file(web, root, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("b.data", b"1")
    web.pages["/p.zip"] = (tmp_path / "p.zip").read_bytes()
    assert "holds no a.data" in refused(web, root, url="p.zip")


def test_a_page_in_the_place_of_an_archive(web, root):
    web.pages["/p.zip"] = b"<html>sign in</html>"
    assert "p.zip is damaged" in refused(web, root, url="p.zip")


def test_nobody_answers(root, web):
    web.address = "http://127.0.0.1:9"
    assert "refused" in refused(web, root)


def test_a_slow_server_is_waited_for(web, root, monkeypatch):
    monkeypatch.setattr(store, "TIMEOUT", 2.0)
    web.pages["/a.data"], web.slow["/a.data"] = BODY, 0.15
    store.fetch("toy", root, [file("a.data", BODY, f"{web.address}/a.data")])
    assert (root / "a.data").read_bytes() == BODY and len(web.asked) == 1


def test_a_server_that_falls_silent_is_asked_for_the_rest(web, root, monkeypatch):
    monkeypatch.setattr(store, "TIMEOUT", 0.3)
    monkeypatch.setattr(store, "ATTEMPTS", 8)
    web.pages["/a.data"], web.slow["/a.data"] = BODY, 1.0
    store.fetch("toy", root, [file("a.data", BODY, f"{web.address}/a.data")])
    assert (root / "a.data").read_bytes() == BODY
    assert [wanted is not None for _, wanted in web.asked[:2]] == [False, True]


def test_an_endless_download_is_stopped(web, root, monkeypatch):
    monkeypatch.setattr(store, "ARCHIVE_LIMIT", 1000)
    web.pages["/a.data"] = BODY
    assert "more than the limit of 1,000" in refused(web, root)


def test_always_cut_off(web, root, monkeypatch):
    monkeypatch.setattr(store, "ATTEMPTS", 1)
    web.pages["/a.data"], web.cut["/a.data"] = BODY, 5
    assert "cut off after 5 of 1,024,000 bytes" in refused(web, root)


@pytest.mark.parametrize("form", ["address", "folder"])
def test_a_mirror_replaces_the_host(web, root, tmp_path, monkeypatch, form):
    mirror = tmp_path / "a mirror"
    (mirror / "uci" / "toy").mkdir(parents=True)
    (mirror / "uci" / "toy" / "a b.data").write_bytes(BODY)
    web.pages["/m/uci/toy/a%20b.data"] = BODY
    monkeypatch.setenv("LPSS_DATA_MIRROR", f"{web.address}/m/" if form == "address" else str(mirror))
    store.fetch("toy", root, [file("uci/toy/a b.data", BODY, "https://nowhere.invalid/p.zip")])
    assert names(root) == ["uci/toy/a b.data"]
    with pytest.raises(DataError, match="uci/c.data is not in"):
        store.fetch("toy", root, [file("uci/c.data", BODY, "https://nowhere.invalid/p.zip")])


def test_two_at_once_do_not_clobber_each_other(web, root):
    web.pages["/a.data"], web.cut["/a.data"] = BODY, 300_000
    wanted = file("a.data", BODY, f"{web.address}/a.data")
    threads = [threading.Thread(target=store.fetch, args=("toy", root, [wanted])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(root) == ["a.data"] and (root / "a.data").read_bytes() == BODY


def test_without_download_the_remedy_is_named(root):
    with pytest.raises(DataError, match="toy: a.data is not in .*not to be downloaded.*LPSS_DATA"):
        store.locate("toy", root, [file("a.data", BODY)], download=False)


def test_a_folder_that_cannot_be_written(web, tmp_path):
    (tmp_path / "flat").write_text("a file where a folder should be")
    web.pages["/a.data"] = BODY
    with pytest.raises(DataError, match="flat cannot be written.*LPSS_DATA"):
        store.fetch("toy", tmp_path / "flat", [file("a.data", BODY, f"{web.address}/a.data")])


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_verify(root, kind):
    root.mkdir()
    wanted = file("a.data", BODY, kind=kind)
    path = root / "a.data"
    path.write_bytes(BODY)
    store.verify("toy", wanted, path)
    for altered in (BODY[:-1], BODY[:-1] + b"x"):
        path.write_bytes(altered)
        with pytest.raises(DataError, match="toy: .*a.data is altered.*lpss-data fetch toy"):
            store.verify("toy", wanted, path)


def test_another_form_will_do_where_the_first_is_absent(root):
    root.mkdir()
    wanted = file("a.gz", gzip.compress(BODY), instead=file("a", BODY))
    (root / "a").write_bytes(BODY)
    assert store.locate("toy", root, [wanted], download=False) == [root / "a"]
    store.verify("toy", wanted, root / "a")
    (root / "a.gz").write_bytes(b"")
    assert store.locate("toy", root, [wanted], download=False) == [root / "a.gz"]
    with pytest.raises(DataError, match="a.gz is altered"):
        store.verify("toy", wanted, root / "a.gz")


def test_status(root):
    root.mkdir()
    files = [file("a", b"one"), file("b", b"two!")]
    assert store.status(root, files) == ("missing", 0, "a")
    (root / "a").write_bytes(b"one")
    assert store.status(root, files) == ("missing", 3, "b")
    (root / "b").write_bytes(b"two!")
    assert store.status(root, files) == ("present", 7, "")
    (root / "b").write_bytes(b"two?")
    assert store.status(root, files) == ("altered", 7, "b")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        store.checksum(tmp_path, "md5")
