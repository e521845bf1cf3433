"""Lenslet spectra on one wavelength grid, flux conserved: a cube for people."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.step import Step, parameter
from nightpipe.kernels.resample import Rebinned, rebin
from nightpipe.maths.lines import FWHM_PER_SIGMA
from nightpipe.maths.rebin import edges
from nightpipe.model.cube import Cube, SpaxelSpectra
from nightpipe.model.flags import UNUSABLE, Flag

FloatArray = NDArray[np.float64]
LAGS = 4


class GridCube(Step):
    """Share the lenslets' counts out to the bins of one regular wavelength grid."""

    version: ClassVar[int] = 1
    low: float = parameter(3700.0, "middle of the first bin, vacuum", unit="Angstrom", gt=0)
    high: float = parameter(9300.0, "middle of the last bin, vacuum", unit="Angstrom", gt=0)
    bins: int = parameter(220, "number of bins", ge=2, le=5000)
    least: float = parameter(0.5, "least part of a bin that good pixels must cover", gt=0, le=1)

    def run(self, spectra: SpaxelSpectra) -> Cube:
        """Return the cube, per Angstrom, with the mean correlation of neighbouring bins and their line width.

        A bin's value is the mean of the pixels that cover it, weighted by overlap; where pixels are wider than bins
        (beyond 6000 A) neighbours share them, and say almost the same. Measure on the native spectra instead.
        """
        wave = np.linspace(self.low, self.high, self.bins)
        grid = edges(wave)
        good = spectra.good
        rows = [_rebinned(spectra, k, good[k], grid) for k in range(len(spectra))]
        value, var, fraction = (
            np.array([getattr(row, name) for row in rows]).T for name in ("value", "var", "fraction")
        )
        lost = fraction < self.least
        mask = np.where(lost, np.uint32(Flag.NO_DATA), np.uint32(0))
        mask |= np.array([_flags(spectra, k, grid) for k in range(len(spectra))], dtype=np.uint32).T
        return Cube(
            wave=wave,
            flux=np.where(lost, 0.0, value).astype(np.float32),
            var=np.where(lost, 0.0, var).astype(np.float32),
            mask=mask.astype(np.uint32),
            east=spectra.east,
            north=spectra.north,
            q=spectra.q,
            r=spectra.r,
            unit=f"{spectra.unit}/Angstrom",
            fwhm=_width(spectra, wave, grid),
            correlation=_correlation(rows, lost),
            exposure=spectra.exposure,
            header=spectra.header,
            meta=spectra.meta,
            caveats=spectra.caveats,
        )


def pixel_edges(spectra: SpaxelSpectra, k: int) -> FloatArray:
    """Return the wavelengths (m + 1,) of the edges of a lenslet's pixels."""
    step = spectra.step[k]
    first = spectra.wave[k, 0] - 0.5 * step[0]
    return np.concatenate([[first], first + np.cumsum(step)])


def _rebinned(spectra: SpaxelSpectra, k: int, good: NDArray[np.bool_], grid: FloatArray) -> Rebinned:
    step = np.maximum(spectra.step[k], 1e-6)
    density, var = spectra.flux[k] / step, spectra.var[k] / step**2
    return rebin(pixel_edges(spectra, k), density, var, good, grid, density=True, lags=LAGS)


def _flags(spectra: SpaxelSpectra, k: int, grid: FloatArray) -> NDArray[np.uint32]:
    """Return the flags that warn (those that exclude are in the coverage) of the pixel at each bin's middle."""
    at = np.clip(
        np.searchsorted(pixel_edges(spectra, k), 0.5 * (grid[1:] + grid[:-1])) - 1, 0, spectra.wave.shape[1] - 1
    )
    return np.asarray(spectra.mask[k, at] & np.uint32(~int(UNUSABLE) & 0xFFFFFFFF), dtype=np.uint32)


def _width(spectra: SpaxelSpectra, wave: FloatArray, grid: FloatArray) -> FloatArray:
    """Return the median FWHM [Angstrom] of a line in the bins, widened by the bin."""
    some = np.linspace(0, len(spectra) - 1, min(len(spectra), 200)).astype(int)
    own = np.median([np.interp(wave, spectra.wave[k], spectra.fwhm[k]) for k in some], axis=0)
    return np.asarray(np.sqrt(own**2 + (FWHM_PER_SIGMA * np.diff(grid)) ** 2 / 12.0))


def _correlation(rows: list[Rebinned], lost: NDArray[np.bool_]) -> FloatArray:
    """Return the mean correlation (lags, bins) of each bin with the next ones, over lenslets that have both."""
    var, between = np.array([row.var for row in rows]), np.array([row.covariance for row in rows])
    known = ~lost.T & (var > 0)
    out = np.zeros(between.shape[1:])
    for lag in range(1, LAGS + 1):
        both = known[:, :-lag] & known[:, lag:]
        norm = np.sqrt(np.where(both, var[:, :-lag] * var[:, lag:], 1.0))
        total = np.sum(np.where(both, between[:, lag - 1, :-lag] / norm, 0.0), axis=0)
        out[lag - 1, :-lag] = total / np.maximum(both.sum(axis=0), 1)
    return out
