import pytest

from lpss.cli.data import main
from lpss.data import DATASETS


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LPSS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LPSS_DATA_MIRROR", str(tmp_path / "mirror"))


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The letter set as three bytes on a mirror."""
    file = type(DATASETS["letter"].files[0])(
        "toy/t.data", 3, "md5:900150983cd24fb0d6963f7d28e17f72", ("https://nowhere.invalid/t.data",)
    )
    monkeypatch.setattr(DATASETS["letter"], "files", (file,))
    path = tmp_path / "mirror" / "toy" / "t.data"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abc")
    return path


def line(text, name):
    return next(row for row in text.splitlines() if row.startswith(f"{name} "))


def test_the_listing_has_a_line_for_every_set(capsys, tmp_path):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "data") in out
    for name in DATASETS:
        assert DATASETS[name]().origin in line(out, name)
    assert "missing" in line(out, "adult") and "CC BY 4.0" in line(out, "adult")
    assert "built in" in line(out, "digits")
    assert out.splitlines()[-1].startswith("to download what is missing: lpss-data fetch ")
    assert not (tmp_path / "data").exists(), "listing writes nothing"


def test_fetch_then_listed_as_present_then_altered(capsys, tmp_path, toy):
    assert main(["fetch", "letter"]) == 0
    assert capsys.readouterr().out == "letter: present\n"
    main([])
    assert line(capsys.readouterr().out, "letter").split()[1:4] == ["present", "3", "B"]
    (tmp_path / "data" / "toy" / "t.data").write_bytes(b"abd")
    main([])
    assert "altered" in line(capsys.readouterr().out, "letter")
    assert main(["fetch", "letter"]) == 1
    assert "is altered" in capsys.readouterr().err


@pytest.mark.parametrize("before", [True, False])
def test_root_may_stand_before_or_after_the_command(capsys, tmp_path, toy, before):
    root = ["--root", str(tmp_path / "other")]
    assert main([*root, "fetch", "letter"] if before else ["fetch", "letter", *root]) == 0
    assert (tmp_path / "other" / "toy" / "t.data").read_bytes() == b"abc"
    assert main([*root]) == 0
    assert "present" in line(capsys.readouterr().out, "letter")


def test_a_failure_is_one_line_and_does_not_stop_the_rest(capsys, toy):
    assert main(["fetch", "web", "letter", "digits"]) == 1
    out, err = capsys.readouterr()
    assert out == "letter: present\ndigits: built in\n"
    assert err.startswith("web: uci/web/PhishingData.arff is not in") and err.count("\n") == 1


def test_an_unknown_name_is_found_before_anything_is_fetched(capsys, tmp_path, toy):
    assert main(["fetch", "letter", "wbe"]) == 2
    out, err = capsys.readouterr()
    assert "unknown dataset 'wbe', did you mean 'web'" in err and not out and not (tmp_path / "data").exists()


def test_fetch_needs_a_name():
    with pytest.raises(SystemExit) as stopped:
        main(["fetch"])
    assert stopped.value.code == 2
