"""How air bends light of each wavelength, and which way is up: differential refraction without the telescope's word."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.maths.airmass import airmass, altitude, precessed, sidereal_time

FloatArray = NDArray[np.float64]

_RADIAN = 206264.806


def pressure_at(height: float) -> float:
    """Return the usual pressure [Pa] at `height` [m] (US Standard Atmosphere 1976, eq. 33a, troposphere)."""
    return float(101325.0 * (1.0 - 2.25577e-5 * height) ** 5.25588)


def vapour_pressure(temperature: float, humidity: float) -> float:
    """Return the pressure of water vapour [Pa] at `temperature` [C] and relative `humidity` [%] (Magnus's formula in
    the form of Alduchov & Eskridge 1996, J. Appl. Meteor. 35, 601, eq. 21).
    """
    return float(humidity / 100.0 * 610.94 * np.exp(17.625 * temperature / (243.04 + temperature)))


def refractivity(wave: ArrayLike, pressure: float, temperature: float, vapour: float = 0.0) -> FloatArray:
    """Return n - 1 of air at vacuum wavelengths [Angstrom].

    Dispersion of dry air and of vapour after Ciddor 1996 (Applied Optics 35, 1566, eqs. 1 and 3), each scaled with its
    density as for ideal gases: good to 1e-9 for the air above a telescope. `pressure` of all the air and of `vapour`
    [Pa], `temperature` [C].
    """
    s2 = (1.0e4 / np.asarray(wave, dtype=np.float64)) ** 2
    dry = 5792105e-8 / (238.0185 - s2) + 167917e-8 / (57.362 - s2)
    wet = 1.022e-8 * (295.235 + 2.6422 * s2 - 0.032380 * s2**2 + 0.004028 * s2**3)
    kelvin = temperature + 273.15
    dry_density = (pressure - vapour) / 101325.0 * 288.15 / kelvin
    wet_density = vapour / 1333.0 * 293.15 / kelvin
    return np.asarray(dry * dry_density + wet * wet_density)


def lift(wave: ArrayLike, reference: float, zenith: float, air: tuple[float, float, float]) -> FloatArray:
    """Return how much higher [arcsec] light of `wave` [Angstrom] stands than that of `reference`.

    `zenith` is the true zenith distance [degree], `air` the pressure [Pa], temperature [C] and vapour pressure [Pa].
    Plane-parallel air with the next term of the Earth's curvature (Stone 1996, PASP 108, 1051, eq. 4).
    """
    tangent = np.tan(np.radians(min(zenith, 80.0)))
    beta = 0.001254 * (273.15 + air[1]) / 273.15  # scale height over the Earth's radius
    n = refractivity(wave, *air) - refractivity(reference, *air)
    return np.asarray(_RADIAN * n * ((1.0 - beta) * tangent - beta * tangent**3))


def parallactic_angle(ra: float, dec: float, mjd: float, longitude: float, latitude: float) -> float:
    """Return the angle [degree] from north through east to the zenith, at (ra, dec) [degree, J2000].

    Meeus 1998, Astronomical Algorithms, eq. 14.1.
    """
    now_ra, now_dec = precessed(ra, dec, mjd)
    hour = np.radians(float(sidereal_time(mjd, longitude)) - now_ra)
    lat, d = np.radians(latitude), np.radians(now_dec)
    return float(np.degrees(np.arctan2(np.sin(hour), np.tan(lat) * np.cos(d) - np.sin(d) * np.cos(hour))))


def way_up(ra: float, dec: float, middle: float, longitude: float, latitude: float) -> tuple[float, float, float]:
    """Return zenith distance [degree], parallactic angle [degree] and airmass at the MJD `middle` of an exposure."""
    height = float(altitude(ra, dec, middle, longitude, latitude))
    angle = parallactic_angle(ra, dec, middle, longitude, latitude)
    return 90.0 - height, angle, float(airmass(height))
