"""Where a star stands above the horizon, and through how much air it shines. Good to 0.01 degree; no tables needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
J2000 = 51544.5


def sidereal_time(mjd: ArrayLike, longitude: float) -> FloatArray:
    """Return the mean local sidereal time [degree] at `longitude` [degree east]; UTC serves as UT1.

    Meeus 1998, Astronomical Algorithms, eq. 12.4.
    """
    days = np.asarray(mjd, dtype=np.float64) - J2000
    centuries = days / 36525.0
    return np.asarray((280.46061837 + 360.98564736629 * days + 0.000387933 * centuries**2 + longitude) % 360.0)


def precessed(ra: float, dec: float, mjd: float) -> tuple[float, float]:
    """Return mean coordinates of date [degree] of a J2000 position (Lieske et al. 1977, A&A 58, 1)."""
    t = (mjd - J2000) / 36525.0
    zeta = np.radians((2306.2181 * t + 0.30188 * t * t + 0.017998 * t**3) / 3600.0)
    z = np.radians((2306.2181 * t + 1.09468 * t * t + 0.018203 * t**3) / 3600.0)
    theta = np.radians((2004.3109 * t - 0.42665 * t * t - 0.041833 * t**3) / 3600.0)
    a, d = np.radians(ra) + zeta, np.radians(dec)
    east = np.cos(d) * np.sin(a)
    mid = np.cos(theta) * np.cos(d) * np.cos(a) - np.sin(theta) * np.sin(d)
    north = np.sin(theta) * np.cos(d) * np.cos(a) + np.cos(theta) * np.sin(d)
    return float(np.degrees(np.arctan2(east, mid) + z) % 360.0), float(np.degrees(np.arcsin(np.clip(north, -1, 1))))


def altitude(ra: float, dec: float, mjd: ArrayLike, longitude: float, latitude: float) -> FloatArray:
    """Return the altitude [degree] of (ra, dec) [degree, J2000], without refraction."""
    mjd = np.asarray(mjd, dtype=np.float64)
    now_ra, now_dec = precessed(ra, dec, float(np.mean(mjd)))
    hour = np.radians(sidereal_time(mjd, longitude) - now_ra)
    lat, d = np.radians(latitude), np.radians(now_dec)
    sine = np.sin(lat) * np.sin(d) + np.cos(lat) * np.cos(d) * np.cos(hour)
    return np.asarray(np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))))


def airmass(height: ArrayLike) -> FloatArray:
    """Return the relative air mass at true altitude `height` [degree]; infinite below the horizon.

    Young 1994, Applied Optics 33, 1108, eq. 5.
    """
    c = np.sin(np.radians(np.asarray(height, dtype=np.float64)))
    above = 1.002432 * c**2 + 0.148386 * c + 0.0096467
    below = c**3 + 0.149864 * c**2 + 0.0102963 * c + 0.000303978
    return np.where(c > 0.0, above / np.where(c > 0.0, below, 1.0), np.inf)


def mean_airmass(
    ra: float, dec: float, middle: float, exptime: float, longitude: float, latitude: float
) -> tuple[float, float, float]:
    """Return the effective airmass of an exposure, and its least and largest value.

    `middle` is the MJD at mid-exposure, `exptime` in seconds; Simpson's rule over start, middle and end (Stetson 1989).
    """
    times = middle + np.array([-0.5, 0.0, 0.5]) * exptime / 86400.0
    start, mid, end = airmass(altitude(ra, dec, times, longitude, latitude))
    return float((start + 4.0 * mid + end) / 6.0), float(min(start, mid, end)), float(max(start, mid, end))
