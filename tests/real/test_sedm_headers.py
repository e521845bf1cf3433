"""Headers of simulated nights of SEDM are distributed as those of public spectra."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def both(shared_data):
    path = Path(__file__).parents[2] / "tools" / "sedm_headers.py"
    spec = importlib.util.spec_from_file_location("sedm_headers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.public(shared_data("sedm-spectra")), module.simulated()


@pytest.mark.parametrize(
    "name",
    ["flexure along [pixel]", "flexure across [pixel]", "airmass", "air temperature [C]", "humidity [%]",
     "age of the flux calibration [h]"],
)  # fmt: skip
def test_a_quantity_is_drawn_as_public_headers_have_it(both, name):
    real, ours = both
    assert real[name].size >= 5
    assert ks_2samp(real[name], ours[name]).pvalue > 0.05


def test_the_width_of_stars_is_that_of_public_spectra(both):
    real, ours = both
    known, drawn = real["FWHM [arcsec]"], ours["FWHM [arcsec]"]
    assert abs(np.median(drawn) - np.median(known)) < 0.35
    assert ((drawn > known.min() - 0.3) & (drawn < known.max() + 0.8)).mean() > 0.85
