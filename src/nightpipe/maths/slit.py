"""Where a sky coordinate falls on a slit."""

from __future__ import annotations

import math


def offsets(
    ra: float, dec: float, pointing_ra: float, pointing_dec: float, position_angle: float
) -> tuple[float, float]:
    """Return a coordinate's offset along and across the slit [arcsec] from the pointing, which is the slit's centre.

    Degrees in; `position_angle` of the slit is counted from north through east. Along is positive towards the position
    angle, across is positive 90 degrees further. Gnomonic projection (Calabretta & Greisen 2002, eq. 12 to 15).
    """
    a, d, a0, d0 = (math.radians(value) for value in (ra, dec, pointing_ra, pointing_dec))
    cosine = math.sin(d0) * math.sin(d) + math.cos(d0) * math.cos(d) * math.cos(a - a0)
    if cosine <= 0:
        raise ValueError("the coordinate lies more than 90 degrees from the pointing")
    east = math.cos(d) * math.sin(a - a0) / cosine
    north = (math.cos(d0) * math.sin(d) - math.sin(d0) * math.cos(d) * math.cos(a - a0)) / cosine
    angle = math.radians(position_angle)
    along = north * math.cos(angle) + east * math.sin(angle)
    across = east * math.cos(angle) - north * math.sin(angle)
    return 3600.0 * math.degrees(along), 3600.0 * math.degrees(across)
