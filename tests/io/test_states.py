"""Data from outside the package enter the keys of what is made with them."""

from builders.templates import small_bank
from nightpipe.io import download
from nightpipe.io.banks import write_bank
from nightpipe.io.states import CATALOGUES, state


def test_a_catalogue_that_is_imported_changes_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTPIPE_CATALOGUES", str(tmp_path))
    empty = state(CATALOGUES)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "catalogue.json").write_text('{"name": "mine", "rows": 3}')
    assert state(CATALOGUES) != empty
    assert state(CATALOGUES) == state(CATALOGUES)


def test_sets_go_by_their_content():
    assert state("telluric") == download.state("telluric")


def test_imported_banks_enter_the_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path))
    assert state("templates") == "absent"
    (tmp_path / "banks").mkdir()
    write_bank(tmp_path / "banks" / "mine.npb", small_bank())
    first = state("templates")
    assert first != "absent"
    write_bank(tmp_path / "banks" / "mine.npb", small_bank(5))
    assert state("templates") not in ("absent", first)
