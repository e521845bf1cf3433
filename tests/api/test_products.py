from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from builders import frames
from builders.templates import seen, small_bank
from nightpipe.api.metrics import nested
from nightpipe.api.products import Product, Publisher
from nightpipe.base.errors import PlanError
from nightpipe.engine.execute import Outcome, State
from nightpipe.engine.ledger import Ledger
from nightpipe.engine.plan import Node
from nightpipe.engine.store import Store
from nightpipe.io import codec
from nightpipe.io.anyspectrum import made
from nightpipe.io.classifier import ranker
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.post.classify import Classify
from nightpipe.steps.post.evidence import ready


def spectrum():
    wave = np.linspace(4000, 8000, 200)
    flux = 100 + 10 * np.sin(wave / 300)
    zero = np.zeros_like(wave)
    return Spectrum("OBJ1", wave, flux, zero + 25, np.zeros(200, np.uint32), zero, "electron", zero + 5)


@pytest.fixture
def product(tmp_path):
    path = tmp_path / "spectra-0.fits"
    codec.save(spectrum(), path)
    return Product("star/star", "Spectrum", tmp_path / "star.fits", (path,))


def test_a_product_loads_its_model(product):
    assert product.model.unit == "electron"
    assert len(product.models()) == 1


def test_a_product_without_members_says_so(tmp_path):
    with pytest.raises(PlanError, match="nothing was found"):
        _ = Product("star/star", "Spectrum", tmp_path / "star.fits", ()).model


def test_a_product_plots_itself(product, tmp_path):
    product.plot().savefig(tmp_path / "star.png")
    assert (tmp_path / "star.png").stat().st_size > 5000


def test_a_spectrum_goes_to_a_table_with_units(product):
    table = product.to_table()
    assert str(table["wave"].unit) == "Angstrom"
    assert np.allclose(table["flux"].value, spectrum().flux)


@pytest.mark.peer
def test_a_spectrum_goes_to_specutils(product):
    pytest.importorskip("specutils")
    exported = product.to_specutils()
    assert np.allclose(exported.flux.value, spectrum().flux)


def test_an_image_goes_to_ccddata(tmp_path):
    path = tmp_path / "frame.fits"
    codec.save(frames.clean(np.random.default_rng(1), 100.0), path)
    exported = Product("x", "Frame", path, (path,)).to_ccddata()
    assert exported.shape == (64, 96)
    assert str(exported.unit) == "electron"


def test_metrics_with_places_become_tables():
    assert nested({"a": 1, "b/5577/12": 2.0, "b/5577/40": 3.0}) == {"a": 1, "b": {"5577": {"12": 2.0, "40": 3.0}}}


def done(store, recipe, output, model, name):
    """Return the outcome of a run whose one output is stored."""
    facts = {"type": [type(model).__name__], "many": True, "files": [f"{output}-0.fits"]}
    record = {"key": recipe, "node": recipe, "recipe": recipe, "published": [output], "state": "ok", "provenance": {}}
    record["outputs"] = {output: facts}
    (path,) = store.files(recipe, output, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    codec.save(model, path)
    return Outcome(Node(recipe, recipe, {}, {}, publish={output: name}), State.OK, recipe, record)


def test_spectra_that_are_written_anew_keep_what_they_were_found_to_be(tmp_path):
    """A text or table that someone deleted comes back while the classification is reused."""
    store = Store(tmp_path)
    found = Classify(z_max=0.5).run(made("", *seen("Ia", 0.05, 30.0), {}), ready(small_bank()), ranker())
    found = replace(found, object="OBJ1")
    runs = [
        done(store, "calibrate", "spectra", spectrum(), "sn/sn"),
        done(store, "classify", "classifications", found, "sn/sn_class"),
    ]
    publisher = Publisher(store, Ledger(tmp_path))
    for _ in range(2):
        for run in runs:
            publisher.publish(run)
        assert fits.getheader(tmp_path / "sn" / "sn.fits", 1)["SNIDTYPE"]
        (tmp_path / "sn" / "sn.txt").unlink()
