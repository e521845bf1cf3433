"""Spectra of standards as an instrument of known response would see them through known air."""

from __future__ import annotations

import numpy as np

from nightpipe.maths.rebin import smoothed_to, widths
from nightpipe.model.exposure import Exposure, FrameType, Setup, Site
from nightpipe.model.spectrum import Spectrum

LA_PALMA = Site("lapalma", -17.885, 28.757, 2382.0)
ANGSTROM_PER_PIXEL = 3.5
EXPTIME = 60.0


def exposure(name="one", *, target="star", airmass=1.2, exptime=EXPTIME, setup=None, ra=None, dec=None, mjd=58928.9):
    return Exposure(
        path=f"/night/{name}.fits",
        sha256="",
        instrument="instrument",
        type=FrameType.STANDARD,
        target=target,
        setup=setup or Setup(mode="longslit", disperser="grism", slit="1.0"),
        start="2020-03-20T20:43:48",
        mjd=mjd,
        exptime=exptime,
        airmass=airmass,
        ra=ra,
        dec=dec,
        site=LA_PALMA,
    )


def log_response(wave):
    """A grism's response [ln electron/s/A per erg/s/cm2/A]: steep in the blue, falling in the red, a ripple."""
    x = (wave - 6000.0) / 3000.0
    return 36.0 - 2.2 * x**2 - 0.6 * x**3 + 0.03 * np.sin(wave / 240.0) - np.exp(-(wave - 3400.0) / 250.0)


def sky_bands(wave):
    """Transmission of telluric bands, gross but in the right places."""
    depth = 0.45 * np.exp(-0.5 * ((wave - 7640.0) / 25.0) ** 2) + 0.12 * np.exp(-0.5 * ((wave - 6890.0) / 20.0) ** 2)
    return 1.0 - depth - 0.25 * np.exp(-0.5 * ((wave - 9400.0) / 150.0) ** 2)


def observed(
    standard,
    extinction,
    *,
    name="one",
    airmass=1.2,
    fwhm=14.0,
    low=3500.0,
    high=9200.0,
    throughput=1.0,
    seed=1,
    setup=None,
):
    """Return the extracted spectrum [electron per bin] of a standard, with photon noise, and the true flux density."""
    rng = np.random.default_rng(seed)
    wave = np.arange(low, high, ANGSTROM_PER_PIXEL) + 0.002 * np.arange(0, (high - low) / ANGSTROM_PER_PIXEL)
    fine = np.arange(low - 100.0, high + 200.0, 1.0)
    light = np.exp(np.interp(fine, standard.wave, np.log(standard.flux)))
    air = 10 ** (-0.4 * airmass * np.interp(fine, extinction.wave, extinction.magnitude)) * sky_bands(fine)
    passed = np.exp(log_response(fine)) * air * (throughput(fine) if callable(throughput) else throughput)
    seen = smoothed_to(fine, light * passed, np.full(len(fine), fwhm))
    expected = np.interp(wave, fine, seen) * widths(wave) * EXPTIME
    var = expected + 30.0
    spectrum = Spectrum(
        name=standard.name,
        wave=wave,
        flux=expected + rng.normal(size=len(wave)) * np.sqrt(var),
        var=var,
        mask=np.zeros(len(wave), dtype=np.uint32),
        sky=np.full(len(wave), 30.0),
        unit="electron",
        fwhm=np.full(len(wave), fwhm),
        boxcar=expected,
        boxcar_var=1.2 * var,
        exposure=exposure(name, target=standard.name, airmass=airmass, setup=setup),
        meta={"slit_arcsec": 0.0},
    )
    return spectrum, np.interp(wave, fine, smoothed_to(fine, light, np.full(len(fine), fwhm)))
