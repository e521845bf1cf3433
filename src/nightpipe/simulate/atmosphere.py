"""The air between star and telescope: refraction, extinction, absorption bands, and where the star stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)

# Ozone cross-sections [1e-21 cm2] at about 230 K, after Serdyuchenko et al. 2014, AMT 7, 625, coarsely sampled.
_OZONE_WAVE = (
    3000,
    3100,
    3200,
    3300,
    3400,
    3500,
    3600,
    4000,
    4400,
    4800,
    5000,
    5250,
    5500,
    5750,
    6000,
    6250,
    6500,
    7000,
    7500,
    8000,
    9000,
    12000,
)
_OZONE_SIGMA = (
    330,
    84,
    23.5,
    5.6,
    1.45,
    0.32,
    0.06,
    0.01,
    0.13,
    0.65,
    1.2,
    2.1,
    3.3,
    4.7,
    5.0,
    3.7,
    2.4,
    0.85,
    0.38,
    0.17,
    0.02,
    0.0,
)

# Absorption bands: edges [A, vacuum], optical depth at the zenith where lines do not saturate, that at which they do,
# number of lines, molecule. Strength and saturation give the equivalent widths of line-by-line air at 1,700 m with 5 mm
# of water, at one and at two airmasses: 0.6, 6.9, 9.5, 30, 13, 27 and 111 A at one. At R = 100 the A band then hides 37
# per cent.
_BANDS = (
    (6278.0, 6320.0, 0.021, 0.024, 14, "O2"),
    (6868.0, 6948.0, 0.184, 0.058, 30, "O2"),
    (7163.0, 7340.0, 0.068, 0.153, 60, "H2O"),
    (7594.0, 7674.0, 20.0, 0.0076, 36, "O2"),
    (8130.0, 8350.0, 0.079, 0.111, 70, "H2O"),
    (8940.0, 9260.0, 0.117, 0.159, 90, "H2O"),
    (9290.0, 9820.0, 0.450, 0.182, 160, "H2O"),
)


@dataclass(frozen=True)
class Air:
    """The air above a site: `pressure` [mmHg], `temperature` [C], `vapour` pressure [mmHg], `ozone` [DU].

    `aerosol` is the extinction [mag/airmass] at 5500 A, `angstrom` its exponent; `water` scales the water bands (1 is
    5 mm).
    """

    pressure: float
    temperature: float
    vapour: float = 4.0
    ozone: float = 300.0
    aerosol: float = 0.04
    angstrom: float = 1.2
    water: float = 1.0


def index_minus_one(wave: FloatArray, air: Air) -> FloatArray:
    """Return n - 1 of air at `wave` vacuum [A] (Filippenko 1982, PASP 94, 715, eqs. 1 to 3)."""
    s2 = (1e4 / wave) ** 2
    standard = 64.328 + 29498.1 / (146.0 - s2) + 255.4 / (41.0 - s2)
    scale = air.pressure * (1.0 + (1.049 - 0.0157 * air.temperature) * 1e-6 * air.pressure)
    dry = standard * scale / (720.883 * (1.0 + 0.003661 * air.temperature))
    wet = air.vapour * (0.0624 - 0.000680 * s2) / (1.0 + 0.003661 * air.temperature)
    return np.asarray(1e-6 * (dry - wet))


def refraction(wave: FloatArray, reference: float, airmass: float, air: Air) -> FloatArray:
    """Return how much higher [arcsec] light of `wave` stands than that of `reference` (Filippenko 1982, eq. 4)."""
    tangent = np.sqrt(max(airmass**2 - 1.0, 0.0))
    lift = index_minus_one(wave, air) - index_minus_one(np.array([reference]), air)
    return np.asarray(206264.8 * lift * tangent)


def extinction(wave: FloatArray, air: Air) -> FloatArray:
    """Return magnitudes per airmass without bands: Rayleigh (Hansen & Travis 1974), ozone, aerosol."""
    micron = wave / 1e4
    rayleigh = 0.008569 * micron**-4 * (1.0 + 0.0113 * micron**-2 + 0.00013 * micron**-4) * air.pressure / 760.0
    ozone = 2.687e16 * air.ozone * 1e-21 * np.interp(wave, _OZONE_WAVE, _OZONE_SIGMA)
    return np.asarray(1.0857 * (rayleigh + ozone) + air.aerosol * (wave / 5500.0) ** -air.angstrom)


def bands(wave: FloatArray, airmass: float, air: Air) -> FloatArray:
    """Return the transmission of the O2 and H2O bands at `airmass`: lines that saturate, drawn 0.4 A wide or more.

    The lines are evenly drawn per band with strengths from a fixed sequence, so that every night has the same air. True
    ones are narrower and saturate: depth grows as ``m / sqrt(1 + m / saturation)`` (Goody 1952, QJRMS 78, 165).
    """
    depth = np.zeros_like(wave)
    for low, high, strength, saturation, count, molecule in _BANDS:
        near = (wave > low - 60.0) & (wave < high + 60.0)
        if near.any():
            amount = airmass * (air.water if molecule == "H2O" else 1.0)
            weak = amount * _band_depth(wave[near], low, high, strength, count)
            depth[near] += weak / np.sqrt(1.0 + weak / saturation)
    return np.exp(-depth)


def _band_depth(wave: FloatArray, low: float, high: float, strength: float, count: int) -> FloatArray:
    rank = (np.arange(count) + 0.5) / count
    centres = low + (high - low) * rank**1.3  # lines crowd towards the band's head
    weights = (0.3 + np.abs(np.sin(7.13 * np.arange(1, count + 1)))) * np.sqrt(np.sin(np.pi * rank) + 0.05)
    weights *= strength * (high - low) / weights.sum()
    width = max(0.4, 0.35 * (high - low) / count)
    lines = weights * width / np.pi / ((wave[:, None] - centres) ** 2 + width**2)
    return np.asarray(lines.sum(axis=1))


def sidereal_degrees(when: datetime, longitude: float) -> float:
    """Return the local mean sidereal time [degree] (Astronomical Almanac, section B)."""
    days = (when - _J2000).total_seconds() / 86400.0
    return (280.46061837 + 360.98564736629 * days + longitude) % 360.0


def altitude_and_parallactic(ra: float, dec: float, sidereal: float, latitude: float) -> tuple[float, float]:
    """Return altitude and parallactic angle [degree] of a star."""
    hour, phi, delta = np.radians([sidereal - ra, latitude, dec])
    sine = np.sin(phi) * np.sin(delta) + np.cos(phi) * np.cos(delta) * np.cos(hour)
    parallactic = np.arctan2(np.sin(hour), np.tan(phi) * np.cos(delta) - np.sin(delta) * np.cos(hour))
    return float(np.degrees(np.arcsin(sine))), float(np.degrees(parallactic))


def airmass_at(altitude: float) -> float:
    """Return the airmass at an altitude [degree] (Young 1994, Applied Optics 33, 1108)."""
    c = np.sin(np.radians(max(altitude, 3.0)))
    top = 1.002432 * c**2 + 0.148386 * c + 0.0096467
    return float(top / (c**3 + 0.149864 * c**2 + 0.0102963 * c + 0.000303978))
