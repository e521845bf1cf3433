"""Re-extraction: which exposure is meant, what becomes of its old products, what is decided."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from nightpipe.api.products import Product
from nightpipe.api.redex import Wish, drop_stale, exposure_named, kept_aside, redex, standing
from nightpipe.base.errors import ConfigError, PlanError
from nightpipe.recipes.book import BOOK

NAME = "ifu20190912_06_29_05"


@pytest.fixture
def out(tmp_path):
    """Return an output folder with a summary, a product, its classification and SEDM's files."""
    rows = [
        {"name": NAME, "file": str(tmp_path / f"{NAME}.fits"), "type": "science"},
        {"name": "ifu20190912_04_20_11", "file": str(tmp_path / "star.fits"), "type": "standard"},
        {"name": "rc20190912_06_29_05_r", "file": str(tmp_path / "rc.fits#r"), "type": "image"},
    ]
    (tmp_path / f"{NAME}.fits").touch()
    (tmp_path / "summary.json").write_text(json.dumps({"exposures": rows}))
    for name in (f"{NAME}.fits", f"{NAME}.txt", f"{NAME}_class-1.fits", f"verify_{NAME}.png"):
        path = tmp_path / "ZTF26sima" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    legacy = tmp_path / "redux" / "20190912" / f"spec_auto_robot_lstep1__crr_b_{NAME}_ZTF26sima.fits"
    legacy.parent.mkdir(parents=True)
    legacy.touch()
    return tmp_path


@pytest.mark.parametrize("word", ["06_29_05", "06:29:05", NAME])
def test_an_exposure_is_known_by_its_time_or_name(out, word):
    name, raws = exposure_named(out, word)
    assert name == NAME
    assert [path.name for path in raws] == [f"{NAME}.fits"]


def test_an_unknown_time_names_those_there_are(out):
    with pytest.raises(PlanError, match="ifu20190912_04_20_11"):
        exposure_named(out, "05_05_05")
    with pytest.raises(PlanError, match="summary"):
        exposure_named(out / "nowhere", "05_05_05")


def test_old_products_are_kept_and_stand_until_new_ones_are_written(out):
    before = kept_aside(out, NAME)
    kept = sorted(path for path in out.rglob("*") if path.parent.name == "old")
    assert {path.suffix for path in kept} == {".fits", ".txt", ".png"}
    assert len(kept) == 4
    assert next((out / "ZTF26sima" / "old").glob(f"{NAME}_*.txt")).read_text() == f"{NAME}.txt"
    assert all(path.exists() for path in before)  # were it killed now, nothing would be lost
    drop_stale(before)
    assert all(path.exists() for path in before)  # nothing was written again: the wish was granted before
    products = [out / "ZTF26sima" / name for name in (f"{NAME}.fits", f"{NAME}.txt", f"verify_{NAME}.png")]
    for product in products:
        new = product.with_name("new")
        new.write_text("new")
        new.replace(product)
    drop_stale(before)
    assert [product.read_text() for product in products] == ["new"] * 3
    assert not list(out.rglob("*_class-1.fits"))
    assert not [path for path in out.rglob("spec_auto_robot*") if path.parent.name != "old"]
    assert sorted(path for path in out.rglob("*") if path.parent.name == "old") == kept


def test_what_was_written_before_a_re_extraction_was_cut_off_is_not_lost_when_it_is_repeated(out):
    """The spectrum lies in its place already and is not written again; the verification is: no reason to drop it."""
    before = kept_aside(out, NAME)
    folder = out / "ZTF26sima"
    spectrum = Product(f"ZTF26sima/{NAME}", "Spectrum", folder / f"{NAME}.fits", (out,), ascii=folder / f"{NAME}.txt")
    classes = Product(f"ZTF26sima/{NAME}_class", "Classification", folder / f"{NAME}_class-1.fits", (out,))
    verification = folder / f"verify_{NAME}.png"
    fresh = verification.with_name("new")
    fresh.write_text("new")
    fresh.replace(verification)
    for products, lost in (((spectrum, classes), set()), ((spectrum,), {classes.path})):
        target = SimpleNamespace(figures=(verification,), products=products)
        drop_stale(before, standing(SimpleNamespace(targets=(target,), out=out), NAME, before))
        assert {path for path in before if not path.exists()} == lost


def test_a_wish_without_content_is_refused(out):
    with pytest.raises(ConfigError, match="a place"):
        redex(BOOK, out, "06_29_05", Wish(), why="", who="me")


def test_every_wish_is_a_parameter_that_exists():
    from nightpipe.api.settings import parse_assignment
    from nightpipe.engine.config import Vocabulary

    wish = Wish((1.0, -2.5), "0,0;1,0;1,1", "12,13", "2,2,1", "psf")
    vocabulary = Vocabulary(BOOK.recipes)
    for text in wish.assignments:
        name, _ = parse_assignment(text)
        vocabulary.check(name, "test")


def test_without_the_calibrations_it_was_reduced_with_nothing_is_touched(out, monkeypatch):
    from nightpipe.api import redex as module
    from nightpipe.engine.plan import Plan

    monkeypatch.setattr(module, "planned", lambda book, raws, request: (None, Plan(())))
    with pytest.raises(PlanError, match="calibrations"):
        redex(BOOK, out, "06_29_05", Wish(method="psf"), why="", who="me")
    assert (out / "ZTF26sima" / f"{NAME}.fits").exists()
    assert not list(out.rglob("old"))
    assert not (out / "decisions.toml").exists()
