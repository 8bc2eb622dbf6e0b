"""trackers.json: one name for a run at all trackers, and how far each is."""

import pytest

from lpss.trackers.note import Note


def test_it_is_the_same_after_an_interruption_and_another_for_a_new_run(tmp_path):
    file = tmp_path / "trackers.json"
    note = Note.of(file, "abc")
    assert note.id.startswith("abc-") and note.logged == {}
    assert Note.of(file, "abc").id != note.id, "it was not written"
    note.logged["wandb"] = 3
    note.write()
    again = Note.of(file, "abc")
    assert (again.id, again.logged) == (note.id, {"wandb": 3})


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"id": "x"}', '{"id": "x", "logged": {"a": "b"}}', "\xff"])
def test_a_damaged_one_is_as_none(tmp_path, text):
    (tmp_path / "trackers.json").write_bytes(text.encode("latin-1"))
    assert Note.of(tmp_path / "trackers.json", "abc").id.startswith("abc-")
