"""Wavelength as a function of pixel: vacuum, Angstrom, on native pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.maths.poly import Poly1, Poly2
from nightpipe.model.warp import Warp

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LineTable:
    """The lines of a solution, one row a line on the reference row.

    `x` centroid [pixel], `x_err` its error, `wave` vacuum [Angstrom], `species`, `residual` measured minus fitted
    [pixel], `used` whether the fit kept the line, `intensity` [electron or adu].
    """

    x: FloatArray
    x_err: FloatArray
    wave: FloatArray
    species: tuple[str, ...]
    residual: FloatArray
    used: NDArray[np.bool_]
    intensity: FloatArray


@dataclass(frozen=True)
class WaveSolution:
    """Wavelength at every pixel: `poly` gives vacuum Angstrom at (x, y), `warp` the exposure's flexure.

    `fwhm` is the line width [pixel] along x, of a Gaussian convolved with a box of width `box` [pixel], which stands
    for pixel and slit; `range` the outermost used lines [Angstrom]; `rms_px` and `loo_px` the residual and
    leave-one-out rms on the reference row `y_ref`; `order` along x was chosen by the latter;
    `map_rms_px` that of all the (line, row) points of the two-dimensional fit.
    """

    poly: Poly2
    shape: tuple[int, int]
    lines: LineTable
    fwhm: Poly1
    y_ref: float
    order: int
    dof: int
    rms_px: float
    loo_px: float
    map_rms_px: float
    range: tuple[float, float]
    coverage: float
    lamps: tuple[str, ...]
    source: str
    mjd: float = 0.0
    warp: Warp | None = None
    caveats: tuple[Caveat, ...] = ()
    box: float = 1.0

    def at(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return vacuum wavelength [Angstrom] at pixel (x, y), flexure included."""
        x = np.asarray(x, dtype=np.float64)
        return self.poly(x if self.warp is None else x - self.warp.along(x, y), y)

    def map(self) -> FloatArray:
        """Return vacuum wavelength [Angstrom] of all pixels, shape (ny, nx)."""
        ny, nx = self.shape
        if self.warp is None:
            return self.poly.grid(nx, ny)
        dispersion = np.gradient(self.poly.grid(nx, ny), axis=1)
        return np.asarray(self.poly.grid(nx, ny) - dispersion * self.warp.along.grid(nx, ny))

    def dispersion(self, x: ArrayLike, y: float) -> FloatArray:
        """Return Angstrom per pixel at (x, y)."""
        x = np.asarray(x, dtype=np.float64)
        return np.asarray(self.poly(x + 0.5, y) - self.poly(x - 0.5, y))

    def warped(self, warp: Warp | None) -> WaveSolution:
        """Return the solution with another flexure: the models move, the pixels never do."""
        return replace(self, warp=warp)
