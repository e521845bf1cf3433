from __future__ import annotations

import numpy as np
import pytest

from builders import frames
from nightpipe.api.metrics import nested
from nightpipe.api.products import Product
from nightpipe.base.errors import PlanError
from nightpipe.io import codec
from nightpipe.model.spectrum import Spectrum


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
