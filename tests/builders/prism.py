"""Spectra as SEDM's lenslets see them: its throughput, a prism's dispersion, R about 100, through known air."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from builders.flux import exposure
from nightpipe.instruments.registry import instrument
from nightpipe.maths.rebin import smoothed_to, widths
from nightpipe.model.exposure import Site
from nightpipe.model.spectrum import Spectrum
from nightpipe.simulate.atmosphere import Air, bands, extinction
from nightpipe.simulate.ifu.instrument import MIRROR, along, efficiency
from nightpipe.simulate.rig import PHOTON

PALOMAR = Site("palomar", -116.865, 33.356, 1712.0)
EXPTIME = 300.0
FINE = np.arange(3500.0, 10400.0, 2.0)
DRY = Air(625.0, 12.0, 6.0, 300.0, 0.07, 1.2, 0.4)


def sampling():
    """Return wavelengths [A] at whole pixels of a lenslet's spectrum and the width of its lines there [A]."""
    pixel = np.arange(np.ceil(along(np.array([9300.0]))[0]), along(np.array([3700.0]))[0])
    wave = np.interp(pixel, along(FINE)[::-1], FINE[::-1])[::-1]
    return wave, 2.6 * widths(wave)


def observed(light, *, airmass=1.2, water=5.0, shift=0.0, lsf=1.0, snr=200.0, seed=1, name="one"):
    """Return the counts of a source of flux density `light` (a function), and its true flux at the resolution.

    `water` [mm]; `shift` [A] of the wavelengths and `lsf`, by how much lines are broader, are not told.
    """
    above = replace(DRY, water=water / 5.0)
    air = 10.0 ** (-0.4 * airmass * extinction(FINE, above)) * bands(FINE, airmass, above)
    arriving = light(FINE) * FINE / PHOTON * MIRROR * EXPTIME * air * efficiency(FINE)
    wave, fwhm = sampling()
    broad = np.interp(FINE, wave, fwhm) * lsf
    seen = np.interp(wave - shift, FINE, smoothed_to(FINE, arriving, broad)) * widths(wave)
    var = np.maximum(seen * np.median(seen) / snr**2, 1e-6 * np.median(seen) ** 2 / snr**2)
    rng = np.random.default_rng(seed)
    spectrum = Spectrum(
        name=name,
        wave=wave,
        flux=seen + rng.normal(size=wave.size) * np.sqrt(var),
        var=var,
        mask=np.zeros(wave.size, dtype=np.uint32),
        sky=np.zeros(wave.size),
        unit="electron",
        fwhm=fwhm,
        exposure=replace(exposure(name, airmass=airmass, exptime=EXPTIME), site=PALOMAR),
    )
    return spectrum, np.interp(wave, FINE, smoothed_to(FINE, light(FINE), np.interp(FINE, wave, fwhm)))


def told(step):
    """Return a step with the parameters that SEDM's description gives it."""
    start = f"{step.__name__}."
    changes = {
        name.removeprefix(start): value
        for override in instrument("sedm").overrides
        for name, value in override.set.items()
        if name.startswith(start)
    }
    return step(**changes)
