"""Where light of a wavelength falls: the true dispersion, the tilted and curved lines, the trace, and flexure.

All in the canonical orientation: x along the dispersion with wavelength increasing, y along the slit, pixels as read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.simulate.bench import Bench

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Bend:
    """Flexure of one exposure [pixel as read]: light falls at ``x + shift + gradient * v``, ``y + along``.

    `v` is the distance from the slit's middle in 40 arcsec.
    """

    shift: float = 0.0
    gradient: float = 0.0
    along: float = 0.0


@dataclass(frozen=True)
class Geometry:
    """The true geometry of one setup on an array of (ny, nx) pixels.

    On the middle row ``wavelength = coef(t)`` with ``t = (x - middle) / half``. Elsewhere light is displaced along x by
    ``(tilt + tilt_change t) r + curve r^2`` with `r` in pixels from the middle row, and by the exposure's `bend`.
    The slit reaches from `low` to `high` [pixel, at t = 0]; a star runs along ``y + trace(t)``. `scale` is arcsec per
    pixel along the slit, `across` pixels per arcsec across it, `sigma_x`, `sigma_y` the camera's rms blur [pixel].
    """

    shape: tuple[int, int]
    coef: FloatArray
    tilt: float
    tilt_change: float
    curve: float
    trace: tuple[float, float]
    low: float
    high: float
    scale: float
    across: float
    sigma_x: float
    sigma_y: float
    bend: Bend = Bend()

    @property
    def middle(self) -> tuple[float, float]:
        """Return the middle of the array (x, y)."""
        ny, nx = self.shape
        return (nx - 1) / 2.0, (ny - 1) / 2.0

    @property
    def half(self) -> float:
        """Return half the array's length along x."""
        return self.shape[1] / 2.0

    def bent(self, bend: Bend) -> Geometry:
        """Return the geometry with another flexure."""
        return replace(self, bend=bend)

    def wave_of(self, u: ArrayLike) -> FloatArray:
        """Return vacuum wavelength [A] at the undistorted coordinate `u` [pixel]."""
        return np.asarray(polynomial.polyval((np.asarray(u) - self.middle[0]) / self.half, self.coef))

    def slope(self, u: ArrayLike) -> FloatArray:
        """Return Angstrom per pixel at `u`."""
        t = (np.asarray(u) - self.middle[0]) / self.half
        return np.asarray(polynomial.polyval(t, polynomial.polyder(self.coef)) / self.half)

    def u_of(self, wave: ArrayLike) -> FloatArray:
        """Return the undistorted coordinate of a wavelength; it holds within 30 % beyond the array."""
        grid = self.middle[0] + np.linspace(-1.3, 1.3, 2001) * self.half
        wanted = np.asarray(wave, dtype=np.float64)
        u = np.asarray(np.interp(wanted, self.wave_of(grid), grid))
        for _ in range(3):
            u = u - (self.wave_of(u) - wanted) / self.slope(u)
        return np.asarray(u, dtype=np.float64)

    def displacement(self, u: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return how far along x light of coordinate `u` is displaced on row `y` [pixel]."""
        offset, stretch = self._row(y)
        return np.asarray(offset + stretch * (np.asarray(u) - self.middle[0]))

    def _row(self, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return displacement at the middle column and its growth per pixel, on row `y`."""
        row = np.asarray(y, dtype=float) - self.middle[1]
        lines = self.tilt * row + self.curve * row**2
        bend = self.bend.shift + self.bend.gradient * row * self.scale / 40.0
        return np.asarray(lines + bend), np.asarray(self.tilt_change * row / self.half)

    def x_of(self, wave: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return where on row `y` light of a wavelength falls [pixel]."""
        u = self.u_of(wave)
        return np.asarray(u + self.displacement(u, y))

    def u_at(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return the undistorted coordinate seen by a place on the detector."""
        offset, stretch = self._row(y)
        return np.asarray(self.middle[0] + (np.asarray(x) - self.middle[0] - offset) / (1.0 + stretch))

    def wave_map(self) -> FloatArray:
        """Return true vacuum wavelength [A] of all pixel centres (ny, nx)."""
        ny, nx = self.shape
        return self.wave_of(self.u_at(np.arange(nx)[None, :], np.arange(ny)[:, None]))

    def trace_of(self, x: ArrayLike) -> FloatArray:
        """Return by how much a star's light, and the slit's edges, run off the row of t = 0 [pixel]."""
        t = (np.asarray(x) - self.middle[0]) / self.half
        return np.asarray(self.trace[0] * t + self.trace[1] * t**2 + self.bend.along)

    def ends(self) -> tuple[float, float]:
        """Return the wavelengths [A] of the first and last pixel of the middle row, without flexure."""
        low, high = self.wave_of(np.array([0.0, self.shape[1] - 1.0]))
        return float(low), float(high)

    def row_of(self, arcsec: float) -> float:
        """Return the row [pixel, at t = 0] of a place `arcsec` above the slit's middle."""
        return (self.low + self.high) / 2.0 + arcsec / self.scale


def lay_out(
    known: Bench, disperser: Disperser, detector: Detector, shape: tuple[int, int], rng: np.random.Generator | None
) -> Geometry:
    """Return the true geometry: the nominal dispersion perturbed within half its tolerance, bent by cubic terms.

    `shape` (ny, nx) is that of the trimmed and oriented array; without a generator nothing is perturbed.
    """
    optics, (ny, nx) = known.bench, shape
    bin_x = detector.binning[0 if detector.dispersion == "x" else 1]
    bin_y = detector.slit_binning
    sag = np.array(optics.sag)
    centre, slope = disperser.centre, disperser.dispersion
    if rng is not None:
        centre += rng.uniform(-0.4, 0.4) * disperser.centre_tolerance
        slope *= 1.0 + rng.uniform(-0.4, 0.4) * disperser.dispersion_tolerance
        sag = sag + rng.normal(0.0, 0.004, len(sag))
    pixels = detector.scale * bin_y
    low = (ny - 1) / 2.0 + optics.slit_arcsec[0] / pixels
    return Geometry(
        shape=shape,
        coef=np.array([centre, *(slope * nx / 2.0 * np.array([1.0, *sag]))]),
        tilt=optics.tilt / 1000.0 * bin_y / bin_x,
        tilt_change=optics.tilt_change / 1000.0 * bin_y / bin_x,
        curve=optics.curve / 1e6 * bin_y**2 / bin_x,
        trace=(optics.trace[0] / bin_y, optics.trace[1] / bin_y),
        low=low,
        high=low + (optics.slit_arcsec[1] - optics.slit_arcsec[0]) / pixels,
        scale=pixels,
        across=optics.anamorphic / detector.scale / bin_x,
        sigma_x=optics.camera_sigma / bin_x,
        sigma_y=optics.camera_sigma / bin_y,
    )
