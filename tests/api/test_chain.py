"""The steps of imaging by the names that people know, and what is done anew."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from nightpipe.api.chain import forget, step_of, until
from nightpipe.api.wishlist import reference_wish, region_wish, sky_wish
from nightpipe.base.errors import ConfigError
from nightpipe.engine.store import RECORD, Store


def node(recipe):
    return SimpleNamespace(recipe=recipe)


def test_names_of_photopipe_are_known_and_others_told():
    assert step_of("crclean") == "measure"
    assert step_of("imagestack") == "imagestack"
    with pytest.raises(ConfigError, match="zeropoint"):
        step_of("zeropiont")


def test_the_chain_ends_where_it_is_told_to():
    keep = until("astrometry")
    assert [keep(None, node(name)) for name in ("measure", "align", "calibrateimages", "lightcurve")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_what_comes_after_a_step_is_forgotten(tmp_path):
    store = Store(tmp_path)
    for number, recipe in enumerate(("imageprepare", "align", "imagestack", "newsources", "extract")):
        folder = store.folder(f"{number}a")
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(json.dumps({"key": f"{number}a", "recipe": recipe, "node": f"{recipe}:M82"}))
    assert forget(store, "stack", {"imagestack:M81"}) == 0  # another object's
    assert forget(store, "stack") == 2
    assert {one["recipe"] for one in store.records()} == {"imageprepare", "align", "extract"}
    assert forget(store) == 3


def test_options_become_parameters(tmp_path):
    assert sky_wish("night", cosmics=False) == ("FramesSky.among=night", "CosmicsImage.when=never")
    assert sky_wish("") == ()
    with pytest.raises(ConfigError):
        sky_wish("day")
    assert region_wish((10.0, 5.0, 2.5), (), None) == ("RankSources.bat=10.0,5.0,2.5",)
    assert reference_wish((), tmp_path) == ()
    (tmp_path / "references").mkdir()
    (tmp_path / "references" / "old.fits").write_bytes(b"image")
    (text,) = reference_wish((), tmp_path)
    assert text.startswith(f"ChooseReference.files={tmp_path}/references/old.fits@")
    with pytest.raises(ConfigError, match="does not exist"):
        reference_wish([tmp_path / "nothing.fits"], tmp_path)
