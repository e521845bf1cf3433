"""Where pixels lie on the sky: a tangent plane with a polynomial distortion, and how good the solution is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.maths.tan import plane_of_sky, sky_of_plane

FloatArray = NDArray[np.float64]
NONE = np.zeros((0, 0))


@dataclass(frozen=True)
class Wcs:
    """TAN with SIP distortion (Shupe et al. 2005, ASP 347, 491).

    `crval` is (ra, dec) [deg, ICRS] of the reference pixel `crpix` (x, y), **zero-based** as everywhere inside: the
    FITS card is one larger. `cd` is ((CD1_1, CD1_2), (CD2_1, CD2_2)) [deg/pixel]. `a`, `b` (k, k) are SIP's forward
    coefficients, ``a[p, q]`` times ``u**p v**q`` with u, v [pixel] from `crpix`; empty: no distortion.
    """

    crval: tuple[float, float]
    crpix: tuple[float, float]
    cd: tuple[tuple[float, float], tuple[float, float]]
    a: FloatArray = field(default_factory=lambda: NONE)
    b: FloatArray = field(default_factory=lambda: NONE)

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return (ra, dec) [deg] of zero-based pixel positions."""
        u, v = np.asarray(x, float) - self.crpix[0], np.asarray(y, float) - self.crpix[1]
        du, dv = self._distortion(u, v)
        (c11, c12), (c21, c22) = self.cd
        return sky_of_plane(c11 * (u + du) + c12 * (v + dv), c21 * (u + du) + c22 * (v + dv), self.crval)

    def to_pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return zero-based pixel positions (x, y) of sky positions [deg]; nan on the far side of the sky.

        Where the distortion cannot be turned round, far outside the frame that it was fitted to, it is left out.
        """
        xi, eta = plane_of_sky(ra, dec, self.crval)
        (c11, c12), (c21, c22) = self.cd
        det = c11 * c22 - c12 * c21
        f, g = (c22 * xi - c12 * eta) / det, (c11 * eta - c21 * xi) / det
        u, v = self._undistorted(f, g) if self.a.size else (f, g)
        return u + self.crpix[0], v + self.crpix[1]

    def _undistorted(self, f: FloatArray, g: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the (u, v) that the distortion moves to (f, g); (f, g) themselves where there are none."""
        u, v, away = f.copy(), g.copy(), np.zeros_like(f)
        with np.errstate(over="ignore", invalid="ignore"):  # far outside the powers run away
            for _ in range(20):  # a fixed point: distortions are gentle, each turn gains digits
                du, dv = self._distortion(u, v)
                away = np.hypot(f - du - u, g - dv - v)
                u, v = f - du, g - dv
                if _largest(away) < 1e-9:
                    break
        held = away < 0.1
        return np.where(held, u, f), np.where(held, v, g)

    @property
    def scale(self) -> float:
        """Return the pixel scale at the reference pixel [arcsec/pixel], the geometric mean of both axes."""
        return 3600.0 * float(np.sqrt(abs(np.linalg.det(np.array(self.cd)))))

    @property
    def parity(self) -> int:
        """Return -1 where east lies left of north as on the sky, +1 where the image is mirrored."""
        return int(np.sign(np.linalg.det(np.array(self.cd))))

    @property
    def rotation(self) -> float:
        """Return the position angle [deg, north through east] of the image's +y axis."""
        return float(np.degrees(np.arctan2(self.cd[0][1], self.cd[1][1])))

    def moved(self, ra: float, dec: float) -> Wcs:
        """Return the same orientation, scale and distortion with the reference pixel at another place [deg]."""
        return replace(self, crval=(float(ra) % 360.0, float(dec)))

    def _distortion(self, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        if not self.a.size:
            return np.zeros_like(u), np.zeros_like(v)
        du, dv = (np.polynomial.polynomial.polyval2d(u, v, part) for part in (self.a, self.b))
        return np.asarray(du, np.float64), np.asarray(dv, np.float64)


def _largest(values: FloatArray) -> float:
    values = np.abs(values[np.isfinite(values)])
    return float(values.max()) if values.size else 0.0


@dataclass(frozen=True)
class Astrometry:
    """A plate solution and why it may be believed.

    `method` is the rung that found it (``"header"``, ``"offset"``, ``"quads"``, ``"blind"``, ``"neighbour"``,
    ``"joint"``, ``"relative"``); `matches` stars pair with the catalogue `catalogue` within a scatter of `rms`
    [arcsec, per axis, ra cos dec and dec], `error` [arcsec] is that of the frame's centre. `shift` [arcsec] is how far
    the centre lies from the header's pointing, `log_odds` the natural logarithm of the odds against a chance match,
    after what was tried. `pairs` (n, 6) holds x, y, catalogue ra, dec, and the residuals [arcsec] of the stars used.
    """

    wcs: Wcs
    method: str
    matches: int
    rms: tuple[float, float]
    error: float
    catalogue: str
    epoch: float
    shift: float
    log_odds: float
    pairs: FloatArray
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Alignment:
    """The dithers of one field brought together: a solution for each frame, in the frames' order.

    `rms` (2,) [arcsec] is the scatter of single positions about their stars' means, along ra cos dec and dec;
    `catalogue_rms` that of the means about the catalogue, nan without one. `shifts` (n, 2) [pixel] are where the first
    frame's centre lies in each frame, less the centre itself; `stars` (n,) were used. `left_out` names frames (by
    number) that could not be brought in, and why: their solution is None.
    """

    solutions: tuple[Astrometry | None, ...]
    shifts: FloatArray
    rms: tuple[float, float]
    catalogue_rms: tuple[float, float]
    stars: tuple[int, ...]
    left_out: tuple[tuple[int, str], ...] = ()
    caveats: tuple[Caveat, ...] = ()
