"""Broad-band magnitudes of spectra: AB, through the shapes of SDSS's filters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.rebin import widths

FloatArray = NDArray[np.float64]
LIGHT = 2.99792458e18
"""Speed of light [Angstrom/s]."""

PASSBANDS = {"g": (4825.0, 1379.0), "r": (6261.0, 1382.0), "i": (7672.0, 1535.0), "z": (9097.0, 1370.0)}
"""Middle and full width at half maximum [Angstrom] (Fukugita et al. 1996, AJ 111, 1748, table 2)."""
SLOPE = 180.0
"""From nothing to everything takes a filter's edge so many Angstrom."""


def passband(name: str, wave: FloatArray) -> FloatArray:
    """Return the transmission of a filter as a trapezium of its width; raises KeyError for an unknown one."""
    middle, width = PASSBANDS[name]
    inside = (0.5 * width - np.abs(wave - middle)) / SLOPE + 0.5
    return np.asarray(np.clip(inside, 0.0, 1.0))


def ab_magnitude(
    name: str, wave: FloatArray, flux: FloatArray, error: FloatArray, good: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the AB magnitude and its error; NaN where less than 0.9 of the band's light is covered.

    `flux` [erg/s/cm2/Angstrom] and `error` (n,) of independent bins; photons are counted (Fukugita et al. 1996, eq. 6).
    """
    step = widths(wave)
    weight = np.where(good, passband(name, wave) * wave * step, 0.0)
    whole = np.arange(3000.0, 11000.0, 5.0)
    covered = weight.sum() / float((passband(name, whole) * whole * 5.0).sum())
    if covered < 0.9:
        return float("nan"), float("nan")
    flat = LIGHT * float((weight / wave**2).sum())
    total = float((weight * np.where(good, flux, 0.0)).sum())
    if total <= 0:
        return float("nan"), float("nan")
    sigma = float(np.sqrt(((weight * np.where(good, error, 0.0)) ** 2).sum()))
    return -2.5 * float(np.log10(total / flat)) - 48.60, 1.0857 * sigma / total
