"""The gnomonic (TAN) projection between the sky and a plane tangent to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def plane_of_sky(ra: ArrayLike, dec: ArrayLike, centre: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Return (xi, eta) [deg] of sky positions (n,) [deg] in the plane tangent at `centre`, east and north positive.

    Calabretta & Greisen 2002 (A&A 395, 1077), section 5.1.3. Positions 90 degrees from the centre or farther are nan.
    """
    a, d = np.radians(np.asarray(ra, float) - centre[0]), np.radians(np.asarray(dec, float))
    d0 = np.radians(centre[1])
    depth = np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(a)
    depth = np.where(depth > 0, depth, np.nan)
    xi = np.cos(d) * np.sin(a) / depth
    eta = (np.sin(d) * np.cos(d0) - np.cos(d) * np.sin(d0) * np.cos(a)) / depth
    return np.degrees(xi), np.degrees(eta)


def sky_of_plane(xi: ArrayLike, eta: ArrayLike, centre: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Return (ra, dec) [deg, ra in 0 to 360] of points (n,) [deg] of the plane tangent at `centre`."""
    x, y = np.radians(np.asarray(xi, float)), np.radians(np.asarray(eta, float))
    d0 = np.radians(centre[1])
    depth = np.cos(d0) - y * np.sin(d0)
    ra = centre[0] + np.degrees(np.arctan2(x, depth))
    dec = np.degrees(np.arctan2(np.sin(d0) + y * np.cos(d0), np.hypot(x, depth)))
    return np.mod(ra, 360.0), dec


def separation(ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike) -> FloatArray:
    """Return the angle [deg] between sky positions [deg], by the haversine formula: true for small angles too."""
    a1, d1, a2, d2 = (np.radians(np.asarray(value, float)) for value in (ra1, dec1, ra2, dec2))
    h = np.sin((d2 - d1) / 2) ** 2 + np.cos(d1) * np.cos(d2) * np.sin((a2 - a1) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(np.clip(h, 0, 1))))
