"""Where spectra of stars and of the sky above a telescope have lines and bands: vacuum wavelengths [Angstrom]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

TELLURIC: tuple[tuple[float, float, str], ...] = (
    (6276.0, 6325.0, "O2 gamma"),
    (6860.0, 6970.0, "O2 B"),
    (7150.0, 7350.0, "H2O"),
    (7590.0, 7725.0, "O2 A"),
    (8100.0, 8370.0, "H2O"),
    (8925.0, 9850.0, "H2O"),
    (10000.0, 10080.0, "O2-O2"),
    (10620.0, 10700.0, "O2-O2"),
    (11070.0, 12100.0, "H2O"),
    (12550.0, 12850.0, "O2"),
    (13150.0, 15000.0, "H2O"),
    (17550.0, 20800.0, "H2O, CO2"),
    (23500.0, 30000.0, "H2O"),
)
"""Absorption of the atmosphere beyond a few per cent from a high site (Smette et al. 2015, A&A 576, A77, figure 1)."""

STRONG_TELLURIC: tuple[tuple[float, float, str], ...] = tuple(band for band in TELLURIC if band[2] != "O2 gamma")
"""Those that hide more than two per cent at low resolution."""

RYDBERG = 109677.583
"""Rydberg constant of hydrogen [1/cm]."""
HELIUM: tuple[float, ...] = (4027.3, 4472.7, 4687.0, 4923.3, 5017.1, 5413.0, 5877.2, 6680.0, 7067.2)
METALS: tuple[tuple[float, float], ...] = (
    (3934.8, 20.0),
    (3969.6, 20.0),
    (5893.0, 15.0),
    (4305.0, 25.0),
    (5175.0, 30.0),
)
"""Ca II H and K, Na I D, the G band, Mg I b: centre and half width [Angstrom]."""


def hydrogen(lower: int, upper: int) -> float:
    """Return the vacuum wavelength [Angstrom] of hydrogen's line between two levels (Rydberg's formula)."""
    return 1e8 / (RYDBERG * (1.0 / lower**2 - 1.0 / upper**2))


def balmer(upper_levels: range = range(3, 12)) -> tuple[float, ...]:
    """Return the Balmer lines H alpha ... [Angstrom]."""
    return tuple(hydrogen(2, n) for n in upper_levels)


def paschen(upper_levels: range = range(6, 16)) -> tuple[float, ...]:
    """Return the Paschen lines from P gamma upwards [Angstrom]."""
    return tuple(hydrogen(3, n) for n in upper_levels)


def in_bands(wave: ArrayLike, bands: tuple[tuple[float, float, str], ...], *, pad: float = 0.0) -> NDArray[np.bool_]:
    """Return where `wave` lies within `pad` [Angstrom] of any of the bands."""
    wave = np.asarray(wave, dtype=np.float64)
    hit = np.zeros(wave.shape, dtype=bool)
    for low, high, _ in bands:
        hit |= (wave >= low - pad) & (wave <= high + pad)
    return hit


def near_lines(wave: ArrayLike, lines: tuple[float, ...], half_width: float) -> NDArray[np.bool_]:
    """Return where `wave` lies within `half_width` [Angstrom] of any of the lines."""
    wave = np.asarray(wave, dtype=np.float64)
    return np.any(np.abs(wave[..., None] - np.asarray(lines)) <= half_width, axis=-1)
