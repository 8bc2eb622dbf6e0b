import pytest

from lpss.runs import index


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Indices are written below tmp_path, for any number of runs, and files need no age to be known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "FEWEST", 1)
    monkeypatch.setattr(index, "YOUNG", 0)


@pytest.fixture
def runs(tmp_path):
    """runs() -> those below tmp_path/outputs, as they are now."""
    return lambda: index.Index(tmp_path / "outputs").runs()
