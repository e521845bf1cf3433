"""Flux calibration: numbers, units, flags and caveats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.flux import EXPTIME, exposure, observed
from builders.waves import solution
from nightpipe.base.errors import MissingCardError
from nightpipe.io.references import extinction, find_standard
from nightpipe.maths.features import STRONG_TELLURIC, in_bands
from nightpipe.maths.rebin import widths
from nightpipe.model.exposure import Setup, Site
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import Response
from nightpipe.steps.post.air import effective_airmass
from nightpipe.steps.post.fluxcal import FluxCalibrate, FluxCalibrateImage, cut_on

AIR = extinction("La Palma")
STAR = find_standard("Feige 34")
WAVE = np.arange(4000.0, 8000.0, 10.0)
RESPONSE = Response(
    wave=WAVE,
    log_response=36.0 + (WAVE - 6000.0) / 4000.0,
    error=np.full(len(WAVE), 0.01),
    range=(4000.0, 7990.0),
    point_wave=WAVE[::20],
    point_value=WAVE[::20],
    point_used=np.ones(len(WAVE[::20]), dtype=bool),
    standards=("Feige 34 one",),
    ratios=(1.0,),
    setup="grism",
)


def has(spectrum, flag):
    return (spectrum.mask & np.uint32(flag)) != 0


def codes(model):
    return [caveat.code for caveat in model.caveats]


def test_formula_and_variance():
    spectrum, _ = observed(STAR, AIR, airmass=1.5)
    fluxed = FluxCalibrate().run(spectrum, RESPONSE, AIR)
    inside = (spectrum.wave > 4000) & (spectrum.wave < 7990)
    lost = 10 ** (0.4 * 1.5 * np.interp(spectrum.wave, AIR.wave, AIR.magnitude))
    factor = lost / EXPTIME / widths(spectrum.wave) / np.exp(36.0 + (spectrum.wave - 6000.0) / 4000.0)
    assert np.allclose((spectrum.flux * factor)[inside], fluxed.flux[inside], rtol=1e-4)
    assert np.allclose((spectrum.var * factor**2)[inside], fluxed.var[inside], rtol=1e-4)
    assert np.allclose((spectrum.sky * factor)[inside], fluxed.sky[inside], rtol=1e-4)
    assert np.allclose((fluxed.flux / spectrum.flux)[inside], (fluxed.err / spectrum.err)[inside])
    assert fluxed.unit == "erg/s/cm2/Angstrom"
    assert fluxed.meta["airmass"] == 1.5


def test_outside_the_response_is_flagged():
    fluxed = FluxCalibrate().run(observed(STAR, AIR)[0], RESPONSE, AIR)
    outside = (fluxed.wave < 4000) | (fluxed.wave > 7990)
    assert np.array_equal(has(fluxed, Flag.NO_FLUX), outside)
    assert not fluxed.good[outside].any()
    assert fluxed.good[~outside].all()


def test_telluric_bands_are_flagged_unless_unwanted():
    spectrum, _ = observed(STAR, AIR)
    assert np.array_equal(
        has(FluxCalibrate().run(spectrum, RESPONSE, AIR), Flag.TELLURIC), in_bands(spectrum.wave, STRONG_TELLURIC)
    )
    assert not has(FluxCalibrate(flag_telluric=False).run(spectrum, RESPONSE, AIR), Flag.TELLURIC).any()


@pytest.mark.parametrize(
    ("blocking", "begins"), [("", 5900.0), ("WG345 356_LP", 6900.0), ("GG420", 8400.0), ("OG515", None)]
)
def test_second_order_begins_where_disperser_and_filter_say(blocking, begins):
    spectrum, _ = observed(STAR, AIR, setup=Setup(disperser="grism", filter=blocking))
    fluxed = FluxCalibrate().run(spectrum.but(meta={"second_order_from": 5900.0}), RESPONSE, AIR)
    flagged = fluxed.wave[has(fluxed, Flag.SECOND_ORDER)]
    if begins is None:
        assert flagged.size == 0
        assert "flux.second_order" not in codes(fluxed)
    else:
        assert flagged.min() == pytest.approx(begins, abs=4.0)
        assert "flux.second_order" in codes(fluxed)


def test_filters_by_their_names():
    assert cut_on("GG385") == 3850.0
    assert cut_on("WG345 356_LP") == 3450.0
    assert cut_on("356_LP") == 3560.0
    assert cut_on("4020longpass") == 4020.0
    assert cut_on("r_SDSS 618_148") == 0.0
    assert cut_on("") == 0.0


def test_no_response_gives_counts_and_says_so():
    fluxed = FluxCalibrate().run(observed(STAR, AIR)[0], None, AIR)
    assert fluxed.unit == "electron/s/Angstrom"
    assert "flux.none" in codes(fluxed)
    assert has(fluxed, Flag.NO_FLUX).all()


def test_no_extinction_is_told():
    fluxed = FluxCalibrate().run(observed(STAR, AIR)[0], RESPONSE, None)
    assert "extinction.none" in codes(fluxed)
    site = Site("Nowhere", 10.0, 20.0, 3000.0)
    assert "extinction.generic" in codes(FluxCalibrate().run(observed(STAR, AIR)[0], RESPONSE, extinction(site)))


def test_exposure_time_is_needed():
    spectrum, _ = observed(STAR, AIR)
    with pytest.raises(MissingCardError):
        FluxCalibrate().run(spectrum.but(exposure=replace(spectrum.exposure, exptime=0.0)), RESPONSE, AIR)


def image():
    wave = solution((10, 200))
    rng = np.random.default_rng(1)
    data = rng.normal(1000.0, 30.0, (10, 200)).astype(np.float32)
    mask = np.zeros((10, 200), dtype=np.uint32)
    mask[3, 50] = np.uint32(Flag.COSMIC)
    return Frame(data, np.full((10, 200), 900.0, np.float32), mask, "electron", exposure=exposure()), wave


def test_image_has_the_same_scale_as_the_spectrum_and_keeps_its_errors():
    frame, wave = image()
    fluxed = FluxCalibrateImage().run(frame, wave, RESPONSE, AIR)
    assert fluxed.unit == "1e-17 erg/s/cm2/Angstrom"
    valid = (fluxed.mask & np.uint32(Flag.NO_FLUX)) == 0
    assert valid.mean() > 0.9
    assert np.allclose((fluxed.data / frame.data)[valid], np.sqrt(fluxed.var / frame.var)[valid], rtol=1e-4)
    row = wave.map()[4]
    spectrum, _ = observed(STAR, AIR)
    n = len(row)
    zero = np.zeros(n)
    plain = spectrum.but(
        wave=row,
        flux=frame.data[4].astype(float),
        var=frame.var[4].astype(float),
        mask=frame.mask[4],
        sky=zero,
        fwhm=zero,
        boxcar=None,
        boxcar_var=None,
        exposure=frame.exposure,
    )
    assert np.allclose(FluxCalibrate().run(plain, RESPONSE, AIR).flux * 1e17, fluxed.data[4], rtol=1e-3)
    assert fluxed.mask[3, 50] & np.uint32(Flag.COSMIC)
    assert "flux.none" in codes(FluxCalibrateImage().run(frame, wave, None, AIR))


def test_airmass_is_that_of_the_whole_exposure():
    """HD 84937 as ALFOSC saw it on 2020-03-20; the header says 1.2388 at mid-exposure."""
    at = exposure(ra=147.2337, dec=13.7442, mjd=58928.86386, airmass=1.2388, exptime=18.0)
    airmass, caveats = effective_airmass(at)
    assert airmass == pytest.approx(1.2388, abs=0.003)
    assert caveats == ()
    long = replace(at, exptime=7200.0)
    airmass, caveats = effective_airmass(long)
    assert airmass > 1.24
    assert caveats == ()  # the header's value is one that the exposure went through


def test_contradicting_airmass_is_told():
    at = exposure(ra=147.2337, dec=13.7442, mjd=58928.86386, airmass=1.8, exptime=18.0)
    airmass, caveats = effective_airmass(at)
    assert airmass == pytest.approx(1.239, abs=0.003)
    assert caveats[0].code == "airmass.header"
    below = replace(at, ra=320.0)
    airmass, caveats = effective_airmass(below)
    assert airmass == 1.8
    assert caveats[0].code == "airmass.coordinates"
    assert effective_airmass(None)[1][0].code == "airmass.missing"
    assert effective_airmass(replace(at, ra=None)) == (1.8, ())
