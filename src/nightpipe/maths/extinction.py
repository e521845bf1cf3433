"""Extinction of a clear atmosphere: Rayleigh scattering, ozone and aerosol, per unit airmass above a given height.

The three terms and their fit follow Hayes & Latham 1975, ApJ 197, 593. Molecular bands of oxygen and water are left
out: they do not grow in proportion to airmass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

MAG = 2.5 * np.log10(np.e)
"""Magnitudes per unit of optical depth."""
DOBSON = 2.687e16
"""Molecules per cm2 in a column of one Dobson unit."""
AEROSOL_WAVE = 5500.0
"""Wavelength [Angstrom] to which the aerosol term refers."""


def pressure_ratio(height: float) -> float:
    """Return mean pressure at `height` [m] over that at sea level (ICAO standard atmosphere)."""
    return float((1.0 - 2.25577e-5 * height) ** 5.25588)


def rayleigh(wave: ArrayLike, height: float) -> FloatArray:
    """Return Rayleigh scattering [mag/airmass] at `wave` [Angstrom] above `height` [m].

    Bodhaine et al. 1999, J. Atmos. Oceanic Technol. 16, 1854, eq. 30; it agrees with Bucholtz 1995, Appl. Opt. 34,
    2765 to 0.3 per cent.
    """
    squared = (np.asarray(wave, dtype=np.float64) * 1e-4) ** 2
    above = 1.0455996 - 341.29061 / squared - 0.90230850 * squared
    below = 1.0 + 0.0027059889 / squared - 85.968563 * squared
    return np.asarray(MAG * 0.0021520 * above / below * pressure_ratio(height))


def ozone(wave: ArrayLike, dobson: float, table: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return ozone absorption [mag/airmass] of a column of `dobson` units; `table`: wave [Angstrom], section [cm2]."""
    return np.asarray(MAG * dobson * DOBSON * np.interp(np.asarray(wave, dtype=np.float64), *table, right=0.0))


def aerosol(wave: ArrayLike, depth: float, alpha: float) -> FloatArray:
    """Return aerosol extinction [mag/airmass]: `depth` at 5500 A times (wave / 5500 A)^-alpha."""
    return np.asarray(depth * (np.asarray(wave, dtype=np.float64) / AEROSOL_WAVE) ** -alpha)


@dataclass(frozen=True)
class Atmosphere:
    """The terms of a site: `height` [m], `dobson` [DU], aerosol `depth` [mag, 5500 A] and `alpha`; `rms` of the fit."""

    height: float
    dobson: float
    depth: float
    alpha: float
    rms: float = 0.0

    def at(self, wave: ArrayLike, table: tuple[FloatArray, FloatArray]) -> FloatArray:
        """Return the sum of the three terms [mag/airmass]."""
        dust = aerosol(wave, self.depth, self.alpha)
        return rayleigh(wave, self.height) + ozone(wave, self.dobson, table) + dust


def fit(
    wave: FloatArray, magnitude: FloatArray, height: float, table: tuple[FloatArray, FloatArray], *, used: ArrayLike
) -> Atmosphere:
    """Fit ozone and aerosol of a published curve [mag/airmass] where `used`; neither can be negative.

    For each exponent the two amplitudes follow from non-negative least squares; the exponent (0 to 3) is scanned.
    Below 3400 A, where the curve is steep and the tables differ, points weigh a fifth.
    """
    keep = np.asarray(used, dtype=bool)
    wave, magnitude = wave[keep], magnitude[keep]
    weight = np.where(wave < 3400.0, 0.2, 1.0)
    rest = magnitude - rayleigh(wave, height)
    trials = (_amplitudes(wave, rest, weight, table, alpha) for alpha in np.linspace(0.0, 3.0, 61))
    _, dobson, depth, alpha = min(trials)
    found = Atmosphere(height, dobson, depth, alpha)
    rms = float(np.sqrt(np.mean((found.at(wave, table) - magnitude)[wave >= 3400.0] ** 2)))
    return Atmosphere(height, dobson, depth, alpha, rms)


def _amplitudes(
    wave: FloatArray, rest: FloatArray, weight: FloatArray, table: tuple[FloatArray, FloatArray], alpha: float
) -> tuple[float, float, float, float]:
    from scipy.optimize import nnls

    basis = np.stack([ozone(wave, 1.0, table), aerosol(wave, 1.0, alpha)], axis=1)
    (dobson, depth), norm = nnls(basis * weight[:, None], rest * weight)
    return float(norm), float(dobson), float(depth), float(alpha)
