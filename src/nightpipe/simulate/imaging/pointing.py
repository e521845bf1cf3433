"""Where the sky falls on a detector: tangent plane, the air's differential refraction, barrel and tilt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.maths.tan import plane_of_sky, sky_of_plane

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Pointing:
    """The truth of one frame's geometry.

    `centre` (ra, dec) [deg] falls on pixel `middle` (x, y), zero-based; `scale` [arcsec/pixel], `rotation` [deg]
    position angle of +y, `parity` -1 as on the sky. `stretch` (3,) are (xx, xy, yy) by which air and flexure stretch
    the plane of the sky (east, north), of order 1e-4. `barrel` [1/rad^2] and `tilt` (2,) [1/rad] distort; with them the
    map from the sky to pixels is a formula, and the way back is not a polynomial.
    """

    centre: tuple[float, float]
    middle: tuple[float, float]
    scale: float
    rotation: float
    parity: int
    stretch: tuple[float, float, float] = (0.0, 0.0, 0.0)
    barrel: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def _turn(self) -> FloatArray:
        """Return the matrix from (east, north) [rad] to pixels."""
        sine, cosine = np.sin(np.radians(self.rotation)), np.cos(np.radians(self.rotation))
        cd = np.array([[self.parity * cosine, sine], [-self.parity * sine, cosine]])
        return np.asarray(np.linalg.inv(cd * np.radians(self.scale / 3600.0)))

    def to_pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return zero-based pixel positions of sky positions [deg]."""
        xi, eta = (np.radians(part) for part in plane_of_sky(ra, dec, self.centre))
        xx, xy, yy = self.stretch
        e, n = xi * (1 + xx) + eta * xy, xi * xy + eta * (1 + yy)
        r2 = e * e + n * n
        push = 1.0 + self.barrel * r2 + self.tilt[0] * e + self.tilt[1] * n
        e, n = e * push, n * push
        (a, b), (c, d) = self._turn
        return self.middle[0] + a * e + b * n, self.middle[1] + c * e + d * n

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return sky positions [deg] of zero-based pixel positions, by iteration."""
        u, v = np.asarray(x, float) - self.middle[0], np.asarray(y, float) - self.middle[1]
        inverse = np.linalg.inv(self._turn)
        xi, eta = (np.degrees(inverse[k, 0] * u + inverse[k, 1] * v) for k in (0, 1))
        for _ in range(12):
            px, py = self.to_pixel(*sky_of_plane(xi, eta, self.centre))
            du, dv = u - (px - self.middle[0]), v - (py - self.middle[1])
            xi = xi + np.degrees(inverse[0, 0] * du + inverse[0, 1] * dv)
            eta = eta + np.degrees(inverse[1, 0] * du + inverse[1, 1] * dv)
        return sky_of_plane(xi, eta, self.centre)

    def direction(self, angle: ArrayLike) -> FloatArray:
        """Return the angle [radian] from +x towards +y of a position angle [deg, north through east]."""
        turn = np.radians(np.asarray(angle, float))
        (a, b), (c, d) = self._turn
        return np.arctan2(c * np.sin(turn) + d * np.cos(turn), a * np.sin(turn) + b * np.cos(turn))

    @property
    def cd(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the CD matrix at the centre without the air's stretch [deg/pixel]."""
        (a, b), (c, d) = np.degrees(np.linalg.inv(self._turn)).tolist()
        return (a, b), (c, d)


def air_stretch(airmass: float, parallactic: float) -> tuple[float, float, float]:
    """Return by how much the air flattens the field along the vertical: 2.8e-4 sec^2 z (Smart 1977, ch. 3)."""
    along = -2.8e-4 * airmass**2
    around = -2.8e-4
    sine, cosine = np.sin(np.radians(parallactic)), np.cos(np.radians(parallactic))
    extra = along - around
    return (
        float(around + extra * sine * sine),
        float(extra * sine * cosine),
        float(around + extra * cosine * cosine),
    )
