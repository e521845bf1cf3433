"""Precession from the equinox of date, for telescopes that write no other."""

from __future__ import annotations

from math import asin, atan2, cos, degrees, radians, sin


def to_j2000(ra: float, dec: float, epoch: float) -> tuple[float, float]:
    """Return degrees at J2000 from degrees at the mean equinox of `epoch` [year] (Lieske et al. 1977; Meeus ch. 21).

    The angles are those of precession from J2000 to the epoch, applied backwards.
    """
    t = (epoch - 2000.0) / 100.0
    zeta, z, theta = (
        radians(arcsec / 3600.0)
        for arcsec in (
            2306.2181 * t + 0.30188 * t**2,
            2306.2181 * t + 1.09468 * t**2,
            2004.3109 * t - 0.42665 * t**2,
        )
    )
    a, d = radians(ra) - z, radians(dec)
    x = cos(theta) * cos(d) * cos(a) + sin(theta) * sin(d)
    y = cos(d) * sin(a)
    height = cos(theta) * sin(d) - sin(theta) * cos(d) * cos(a)
    return degrees(atan2(y, x) - zeta) % 360.0, degrees(asin(max(-1.0, min(1.0, height))))
