"""The response measured on a real night against another reduction's flux calibration of the same counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.flux import exposure
from nightpipe.io.references import extinction
from nightpipe.io.responses import library_response
from nightpipe.model.exposure import Setup, Site
from nightpipe.model.spectrum import Spectrum
from nightpipe.steps.post.fluxcal import FluxCalibrate

LICK = Site("lick", -121.6373, 37.3433, 1290.0)


@pytest.mark.real
@pytest.mark.parametrize("name", ["b27", "b28"])
def test_kast_blue_agrees_with_another_pipeline_in_shape(shared_data, name):
    """J1217+3905 behind Feige 66: within 5 per cent from 3650 to 5400 Angstrom, in blocks that beat the noise down."""
    from astropy.io import fits

    table = fits.getdata(shared_data("kast-blue-2015") / "truth" / f"spec1d_{name}.fits.gz", 1)
    keep = table["OPT_MASK"] & (table["OPT_FLAM"] != 0)
    order = np.argsort(table["OPT_WAVE"][keep])
    wave, counts, theirs = (
        np.asarray(table[column][keep][order], float) for column in ("OPT_WAVE", "OPT_COUNTS", "OPT_FLAM")
    )
    zero = np.zeros(len(wave))
    setup = Setup(arm="blue", disperser="600/4310", slit="2.0 arcsec", dichroic="d55")
    there = replace(exposure(exptime=1200.0, setup=setup, ra=184.403, dec=39.011, mjd=57162.2), instrument="kast")
    there = replace(there, site=LICK, airmass=1.0)
    mask = np.zeros(len(wave), dtype=np.uint32)
    spectrum = Spectrum(
        "J1217", wave, counts, np.abs(counts) + 10.0, mask, zero, "electron", zero + 5.0, exposure=there
    )
    fluxed = FluxCalibrate().run(spectrum, library_response(there), extinction(LICK))
    inside = (wave > 3650) & (wave < 5400)
    blocks = np.array([np.median(part) for part in np.array_split((fluxed.flux / theirs)[inside] * 1e17, 15)])
    assert np.max(np.abs(blocks / np.median(blocks) - 1.0)) < 0.05
    assert np.median(blocks) == pytest.approx(1.0, abs=0.1)  # their flat is normalised otherwise
