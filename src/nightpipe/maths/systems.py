"""Between photometric systems: SDSS and Pan-STARRS1; RefCat2 is on the latter (Tonry et al. 2018, ApJ 867, 105).

Tonry et al. 2012 (ApJ 750, 99), table 6: SDSS minus PS1 as a quadratic in PS1's g - r.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SDSS_MINUS_PS1 = {
    "g": (0.013, 0.145, 0.019),
    "r": (-0.001, 0.004, 0.007),
    "i": (-0.005, 0.011, 0.010),
    "z": (0.013, -0.039, -0.012),
}


def sdss_of_ps1(mags: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Return griz magnitudes of SDSS from those of PS1, which must hold g and r."""
    colour = mags["g"] - mags["r"]
    return {
        band: mags[band] + a + b * colour + c * colour**2
        for band, (a, b, c) in SDSS_MINUS_PS1.items()
        if band in mags
    }  # fmt: skip


def ps1_of_sdss(mags: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Return griz magnitudes of PS1 from those of SDSS, which must hold g and r: the inverse, by a fixed point."""
    found = dict(mags)
    for _ in range(20):
        there = sdss_of_ps1(found)
        found = {band: found[band] + mags[band] - value for band, value in there.items()}
    return found


AB = ("PS1", "SDSS", "SkyMapper", "AB")
"""Systems whose magnitudes are AB to within their zero points' few hundredths."""
VEGA_JANSKY = {"J": 1594.0, "H": 1024.0, "K": 666.7}
"""Flux densities of magnitude zero of 2MASS [Jansky] (Cohen et al. 2003, AJ 126, 1090)."""


def microjansky(zp: float, band: str, system: str) -> float:
    """Return what one electron/s is in microjansky; nan where the system does not tell.

    A flux of one microjansky has the AB magnitude 23.9 (Oke & Gunn 1983, ApJ 266, 713).
    """
    if system in AB:
        return float(10 ** (0.4 * (23.9 - zp)))
    if system == "Vega" and band in VEGA_JANSKY:
        return float(1e6 * VEGA_JANSKY[band] * 10 ** (-0.4 * zp))
    return float("nan")
