"""The Earth's motion and the light's travel time towards a star, without tables from the network."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LIGHT = 299792.458
"""Speed of light [km/s]."""
AU = 149597870.7
"""Astronomical unit [km]."""
DAY = 86400.0
SUN = 1.32712440018e11
"""Heliocentric gravitational constant [km3/s2]."""


def barycentric(
    ra: float, dec: float, mjd: float, longitude: float, latitude: float, height: float
) -> tuple[float, float]:
    """Return the barycentric velocity correction [km/s] and BJD in TDB [day] for a J2000 position and UTC `mjd`.

    Light seen at ``wave`` has ``wave * (1 + v / c)`` for the barycentre. Earth from VSOP87 as in ERFA's epv00, the
    observatory's rotation with UT1 = UTC: within 1 m/s and 20 ms of Wright & Eastman 2014, PASP 126, 838, who also give
    the Sun's redshift and time dilation that enter here. `height` in metres, angles in degrees, east positive.
    """
    import erfa  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", erfa.ErfaWarning)  # leap seconds of years to come are nobody's fault
        tt = erfa.taitt(*erfa.utctai(2400000.5, mjd))
    place, velocity, sun = _observer(erfa, tt, mjd, longitude, latitude, height)
    star = erfa.s2c(np.radians(ra), np.radians(dec))
    beta = velocity / LIGHT
    slow = 0.5 * float(beta @ beta) + SUN / (sun * LIGHT**2)
    redshift = (1.0 + float(beta @ star)) * (1.0 + slow) - 1.0
    tdb = tt[0] + tt[1] + _tdb_minus_tt(mjd) / DAY
    return LIGHT * redshift, float(tdb + place @ star / LIGHT / DAY)


def _observer(
    erfa: Any, tt: tuple[float, float], mjd: float, longitude: float, latitude: float, height: float
) -> tuple[FloatArray, FloatArray, float]:
    """Return barycentric place [km] and velocity [km/s] of the observatory, and its distance from the Sun [km]."""
    around_sun, around_barycentre = erfa.epv00(*tt)
    angle = erfa.era00(2400000.5, mjd)
    local = erfa.pvtob(np.radians(longitude), np.radians(latitude), height, 0.0, 0.0, 0.0, angle)
    turn = erfa.c2i06a(*tt).T
    place = np.asarray(around_barycentre["p"]) * AU + turn @ np.asarray(local["p"]) / 1e3
    velocity = np.asarray(around_barycentre["v"]) * AU / DAY + turn @ np.asarray(local["v"]) / 1e3
    return place, velocity, float(np.linalg.norm(around_sun["p"]) * AU)


def _tdb_minus_tt(mjd: float) -> float:
    """Return TDB - TT [s] to 50 microseconds (Astronomical Almanac, section B)."""
    anomaly = np.radians(357.53 + 0.98560028 * (mjd - 51544.5))
    return float(0.001657 * np.sin(anomaly) + 0.000022 * np.sin(2.0 * anomaly))
