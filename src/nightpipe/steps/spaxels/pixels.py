"""The native pixels of all lenslets in one row, on a common scale of wavelength that counts pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.maths.profile import FWHM_PER_SIGMA
from nightpipe.maths.robust import running_median
from nightpipe.model.cube import SpaxelSpectra

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Scale:
    """The common scale: `wave` (k,) [Angstrom] at places 0, 1, 2 ... one pixel of a typical lenslet apart.

    `sigma` (k,) [pixel] is the typical rms width of a line, the pixel's own included.
    """

    wave: FloatArray
    sigma: FloatArray

    def place(self, wave: ArrayLike) -> FloatArray:
        """Return the place of wavelengths [Angstrom] on the scale."""
        from scipy.interpolate import CubicSpline

        return np.asarray(CubicSpline(self.wave, np.arange(self.wave.size))(np.asarray(wave, np.float64)))

    @property
    def step(self) -> FloatArray:
        """Return Angstrom per pixel at each place."""
        return np.gradient(self.wave)

    @property
    def fwhm(self) -> FloatArray:
        """Return the FWHM of a line [Angstrom] at each place."""
        return FWHM_PER_SIGMA * self.sigma * self.step


@dataclass(frozen=True)
class Pixels:
    """Usable pixels (m,): lenslet, place on the scale, wavelength, Angstrom covered, flux and variance.

    `blur` (m,) is half the excess [pixel^2] of the line's variance over the typical one.
    """

    scale: Scale
    spaxel: IntArray
    place: FloatArray
    wave: FloatArray
    step: FloatArray
    flux: FloatArray
    var: FloatArray
    blur: FloatArray
    count: int

    def __len__(self) -> int:
        return int(self.flux.size)

    def only(self, keep: Bools) -> Pixels:
        """Return those pixels where `keep` (m,) is True."""
        names = ("spaxel", "place", "wave", "step", "flux", "var", "blur")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


def scale_of(spectra: SpaxelSpectra, low: float, high: float) -> Scale:
    """Return the common scale from `low` to `high` [Angstrom]: each pixel the median of what lenslets have there.

    Raises `BadFrameError` where hardly a lenslet has usable pixels.
    """
    grid = np.arange(low, high + 5.0, 10.0)
    lit = np.flatnonzero(spectra.good.sum(axis=1) > 0.5 * spectra.flux.shape[1] * 0.3)
    if lit.size < 7:
        raise BadFrameError("lenslets with usable spectra", f"{lit.size}", "look at the traces and the mask")
    lit = lit[:: max(lit.size // 150, 1)]
    step, fwhm = _typical(spectra, lit, grid, spectra.step), _typical(spectra, lit, grid, spectra.fwhm)
    count = np.concatenate([[0.0], np.cumsum(10.0 * 2.0 / (step[1:] + step[:-1]))])
    wave = np.interp(np.arange(np.floor(count[-1]) + 1.0), count, grid)
    sigma = np.interp(wave, grid, fwhm / step) / FWHM_PER_SIGMA
    return Scale(wave, sigma)


def _typical(spectra: SpaxelSpectra, lit: IntArray, grid: FloatArray, values: FloatArray) -> FloatArray:
    """Return the median over lenslets of a property at wavelengths, as a smooth curve."""
    table = np.full((lit.size, grid.size), np.nan)
    for row, k in enumerate(lit):
        inside = (grid >= spectra.wave[k, 0]) & (grid <= spectra.wave[k, -1])
        table[row, inside] = np.interp(grid[inside], spectra.wave[k], values[k])
    known = np.isfinite(table).any(axis=0)
    middle = np.nanmedian(table[:, known], axis=0)
    curve = np.polynomial.Chebyshev.fit(grid[known], np.log(middle), 6)
    held = np.clip(grid, grid[known][0], grid[known][-1])
    return np.exp(np.asarray(curve(held), dtype=np.float64))


def pixels_of(spectra: SpaxelSpectra, scale: Scale, leave: Bools) -> Pixels:
    """Return the usable pixels on a scale; lenslets where `leave` (n,) is True are left out.

    Variances are medians along each spectrum for a start: those made from counts follow the counts' noise.
    """
    inside = (spectra.wave >= scale.wave[0]) & (spectra.wave <= scale.wave[-1])
    good = spectra.good & inside & ~leave[:, None]
    rows, columns = np.nonzero(good)
    var = running_median(np.asarray(spectra.var, np.float64), 9, axis=1)
    wave = spectra.wave[rows, columns]
    place = scale.place(wave)
    nominal = np.interp(place, np.arange(scale.wave.size), scale.step)
    sigma = spectra.fwhm[rows, columns] / FWHM_PER_SIGMA / nominal
    blur = 0.5 * (sigma**2 - np.interp(place, np.arange(scale.wave.size), scale.sigma) ** 2)
    return Pixels(
        scale, rows, place, wave, spectra.step[rows, columns], spectra.flux[rows, columns].astype(np.float64),
        var[rows, columns], np.clip(blur, -0.4, 0.4), len(spectra),
    )  # fmt: skip


def model_variance(pixels: Pixels, raw: FloatArray, model: FloatArray, use: Bools) -> FloatArray:
    """Return variances that do not know the pixel's own count: per lenslet a line through variance over model.

    `raw` (m,) as extracted, `model` (m,) the expected counts. A variance made from counts is large where these
    fluctuated upwards, and weights made from it bias low; the line's two numbers rest on a whole spectrum.
    """
    n, k = pixels.count, pixels.spaxel
    weight = use / np.maximum(pixels.var, 1e-6) ** 2
    for _ in range(3):
        sums = [np.bincount(k, weight * part, n) for part in (np.ones_like(raw), model, model**2, raw, raw * model)]
        one, m, mm, r, rm = sums
        det = one * mm - m * m
        safe = det > 1e-9 * np.maximum(one * mm, 1e-300)
        slope = np.where(safe, (one * rm - m * r) / np.where(safe, det, 1.0), 0.0)
        slope = np.clip(slope, 0.0, 3.0 * max(float(np.median(slope)), 1e-3))
        base = np.where(one > 0, (r - slope * m) / np.maximum(one, 1e-300), 0.0)
        line = base[k] + slope[k] * model
        floor = 0.3 * np.interp(pixels.place, *_floor(pixels, raw))
        line = np.maximum(line, floor)
        weight = use * (np.abs(raw - line) < 4.0 * np.sqrt(line) * np.maximum(slope[k], 0.3) * 2.0 + 0.3 * line)
        weight = weight / line**2
    return np.asarray(line)


def _floor(pixels: Pixels, raw: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return places, and the variance that hardly any lenslet falls below there."""
    order = np.argsort(pixels.place, kind="stable")
    parts = np.array_split(order, 20)
    return (
        np.array([np.median(pixels.place[part]) for part in parts]),
        np.array([np.percentile(raw[part], 5.0) for part in parts]),
    )
