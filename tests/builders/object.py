"""Repeated exposures of one faint object, as they come from the extraction."""

from __future__ import annotations

import numpy as np

from builders.flux import exposure
from nightpipe.maths.rebin import smoothed_to
from nightpipe.model.spectrum import Spectrum


def truth(wave):
    """Return a quasar-like spectrum: continuum with broad lines."""
    lines = 2.0 * np.exp(-0.5 * ((wave - 5000.0) / 40.0) ** 2) + np.exp(-0.5 * ((wave - 6400.0) / 60.0) ** 2)
    return 3.0 * (wave / 6000.0) ** -1.0 + lines


def exposures(count=2, *, shift=0.37, scale=(), snr=8.0, seed=1, n=700, step=7.0, depth=1.0, name="qso"):
    """Return `count` fluxed exposures, the k-th shifted by k * `shift` bins and `scale[k]` times as bright."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        wave = 4000.0 + step * (np.arange(n) + k * shift) + 1e-4 * step * np.arange(n)
        fine = np.arange(wave[0] - 200.0, wave[-1] + 200.0, 1.0)
        light = np.interp(wave, fine, smoothed_to(fine, truth(fine), np.full(len(fine), 15.0)))
        light *= scale[k] if k < len(scale) else 1.0
        sky = (
            1.0 + 4.0 * np.exp(-0.5 * ((wave - 5577.0) / 7.0) ** 2) + 3.0 * np.exp(-0.5 * ((wave - 7750.0) / 7.0) ** 2)
        )
        var = (light + sky) * (3.0 / snr) ** 2 / 4.0 * (1.0 + 0.3 * k) * depth
        flux = light + rng.normal(size=n) * np.sqrt(var)
        made.append(
            Spectrum(
                name=name,
                wave=wave,
                flux=flux,
                var=np.maximum(
                    var * (1.0 + 0.1 * (flux - light) / light), 0.2 * var
                ),  # errors know the counts a little
                mask=np.zeros(n, dtype=np.uint32),
                sky=sky,
                unit="erg/s/cm2/Angstrom",
                fwhm=np.full(n, 15.0),
                boxcar=flux,
                boxcar_var=1.3 * var,
                exposure=exposure(f"exposure{k + 1}", target=name, mjd=58929.0 + 0.01 * k, exptime=900.0),
                meta={"slit_arcsec": 0.1, "airmass": 1.1 + 0.1 * k, "barycorr": -5.0},
            )
        )
    return tuple(made)
