"""The lenslets of an integral-field unit: where each one's spectrum lies, what its wavelengths are, how it responds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.model.warp import Warp

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Spaxel(IntEnum):
    """How a lenslet's geometry was come by."""

    MEASURED = 0
    """On its own light."""
    REPAIRED = 1
    """From its neighbours on the lattice: its own light was missing, merged with another's or out of line."""
    DEAD = 2
    """There is a lenslet, and no light to speak of comes through it."""


@dataclass(frozen=True)
class SpaxelSet:
    """The spectra of n lenslets on the oriented frame (wavelength grows with x): 1,500 short traces.

    `q`, `r` (n,) axial coordinates on the lattice; `east`, `north` (n,) [arcsec] from the field's middle.
    `x` (n,) the middle column of the light [pixel], `span` (n, 2) its first and last column.
    `centre` (n, k) coefficients of the row ``sum_j centre[:, j] u**j`` with ``u = column - x``;
    `sigma` (n, m) likewise of the rms width of the core [pixel].
    `offset` (p,) and `below` (p,) tabulate the share of light below an offset from the centre, in units of sigma:
    one empirical profile for all, integrated over pixels by its differences.
    `state` (n,) is a `Spaxel`; `brightness` (n,) the dome's light [electron per column] relative to the median.
    """

    q: IntArray
    r: IntArray
    east: FloatArray
    north: FloatArray
    x: FloatArray
    span: FloatArray
    centre: FloatArray
    sigma: FloatArray
    offset: FloatArray
    below: FloatArray
    state: IntArray
    brightness: FloatArray
    shape: tuple[int, int]
    mjd: float = 0.0
    source: str = "night"
    warp: Warp | None = None
    caveats: tuple[Caveat, ...] = ()

    def __len__(self) -> int:
        return int(self.q.size)

    def row(self, k: int | IntArray, column: ArrayLike) -> FloatArray:
        """Return the row [pixel] of the light of lenslet(s) `k` at `column`, flexure included."""
        column = np.asarray(column, dtype=np.float64)
        y = _poly(self.centre, k, column - self.x[k])
        if self.warp is None:
            return y
        dx, dy = self.warp.at(column, y)
        slope = _poly(self.centre, k, column - self.x[k] + 0.5) - _poly(self.centre, k, column - self.x[k] - 0.5)
        return np.asarray(y + dy - slope * dx)

    def width(self, k: int | IntArray, column: ArrayLike) -> FloatArray:
        """Return the rms width of the core [pixel] of lenslet(s) `k` at `column`."""
        return _poly(self.sigma, k, np.asarray(column, dtype=np.float64) - self.x[k])

    def warped(self, warp: Warp | None) -> SpaxelSet:
        """Return the set with another flexure: the models move, the pixels never do."""
        return replace(self, warp=warp)


@dataclass(frozen=True)
class SpaxelWaves:
    """Wavelengths of n lenslets: column as a smooth function of vacuum wavelength [Angstrom], lenslet by lenslet.

    `law_wave` (p,) and `law_pixel` (p,) tabulate the instrument's nominal law (pixel from its middle, growing with
    wavelength); the column of lenslet k is ``sum_j coef[k, j] * (law(wave) / scale)**j``.
    `fwhm_px` (n, m) coefficients, in the same variable, of the FWHM of a line [pixel] along x.
    `range` the outermost used lines [Angstrom]; `rms` (n,) [Angstrom] the residual of each lenslet's own lines;
    `used` (n,) how many; `smooth` (n,) True where only the field's smooth surface stands behind it.
    `line_wave` (l,) the lines (vacuum) and `residual` (n, l) measured minus fitted [pixel] (NaN: not measured).
    """

    law_wave: FloatArray
    law_pixel: FloatArray
    scale: float
    coef: FloatArray
    fwhm_px: FloatArray
    range: tuple[float, float]
    rms: FloatArray
    used: IntArray
    smooth: NDArray[np.bool_]
    line_wave: FloatArray
    residual: FloatArray
    lamps: tuple[str, ...]
    source: str = "night"
    mjd: float = 0.0
    warp: Warp | None = None
    caveats: tuple[Caveat, ...] = ()

    def law(self, wave: ArrayLike) -> FloatArray:
        """Return the nominal place along a spectrum [pixel] of vacuum wavelengths [Angstrom]."""
        return np.asarray(self._law(np.asarray(wave, dtype=np.float64)))

    @cached_property
    def _law(self) -> CubicSpline:
        from scipy.interpolate import CubicSpline

        return CubicSpline(self.law_wave, self.law_pixel)

    def column(self, k: int | IntArray, wave: ArrayLike, row: ArrayLike = 0.0) -> FloatArray:
        """Return the column [pixel] of `wave` [Angstrom] for lenslet(s) `k` whose light lies about `row`."""
        return self.place(k, self.law(wave) / self.scale, row)

    def place(self, k: int | IntArray, law: ArrayLike, row: ArrayLike = 0.0) -> FloatArray:
        """Return the column [pixel] as `column` does, for values of the law over `scale` that are known already."""
        x = _poly(self.coef, k, np.asarray(law, dtype=np.float64))
        return x if self.warp is None else np.asarray(x + self.warp.along(x, row))

    def warped(self, warp: Warp | None) -> SpaxelWaves:
        """Return the solution with another flexure: the models move, the pixels never do."""
        return replace(self, warp=warp)


@dataclass(frozen=True)
class SpaxelFlat:
    """The response of n lenslets relative to their median: `values` (n, m) at `wave` (m,) [Angstrom], `error` (n, m).

    Zero marks a dead lenslet; its light is masked, never divided.
    """

    wave: FloatArray
    values: FloatArray
    error: FloatArray
    source: str = "dome"
    caveats: tuple[Caveat, ...] = ()


def _poly(coef: FloatArray, k: int | IntArray, u: FloatArray) -> FloatArray:
    """Return ``sum_j coef[k, j] u**j``: for one lenslet at many places, or many lenslets at one place each."""
    value = np.zeros(np.broadcast(coef[k, 0], u).shape)
    for j in range(coef.shape[1] - 1, -1, -1):
        value = value * u + coef[k, j]
    return np.asarray(value)
