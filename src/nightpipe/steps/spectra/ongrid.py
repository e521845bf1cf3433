"""One spectrum on the grid of another: bin by bin where the grids are alike, else shared out with the covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.resample import rebin
from nightpipe.maths.rebin import edges
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.spectrum import Spectrum

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

LAGS = 3
LEAST = 0.5
"""Share of a bin that good bins of the old grid must cover."""
HITS = Flag.COSMIC | Flag.REJECTED | Flag.BAD
UNSTEADY = Flag.TELLURIC | Flag.NO_FLUX | Flag.SECOND_ORDER
"""Bits that do not spoil a bin, but make it unfit to compare levels."""


@dataclass(frozen=True)
class GridSpectrum:
    """A spectrum on a grid of n bins: as `Spectrum`, with `covariance` (LAGS, n) between neighbours.

    `wave` is where the light of each bin lies, up to half a bin from the grid. `good` bins may be used, `present` ones
    have any data, `near_hit` ones are within two bins of a flagged hit, `steady` ones may be compared with another
    exposure.
    """

    wave: FloatArray
    flux: FloatArray
    var: FloatArray
    covariance: FloatArray
    mask: NDArray[np.uint32]
    sky: FloatArray
    fwhm: FloatArray
    boxcar: FloatArray | None
    boxcar_var: FloatArray | None
    good: Bools
    present: Bools
    near_hit: Bools
    steady: Bools


def on_grid(spectrum: Spectrum, reference: Spectrum, *, same: float = 0.02, resample: bool = True) -> GridSpectrum:
    """Return `spectrum` on the bins of `reference`.

    Untouched where the grids differ by less than `same` bins. With `resample`, or where the widths of the bins differ,
    bins are shared out; else each bin of the grid takes the nearest bin as it is: nothing is smoothed, neighbours stay
    independent, and `wave` says where the light really lies.
    """
    if len(spectrum.wave) == len(reference.wave):
        shift = np.abs(spectrum.wave - reference.wave) / np.gradient(reference.wave)
        if float(np.max(shift)) <= same:
            return _as_it_is(spectrum)
    if resample or not _alike(spectrum.wave, reference.wave):
        return _resampled(spectrum, reference)
    return _nearest(spectrum, reference)


def _alike(wave: FloatArray, other: FloatArray) -> bool:
    """Tell whether two grids have bins of the same width where they overlap, to two per cent."""
    low, high = max(wave[0], other[0]), min(wave[-1], other[-1])
    if low >= high:
        return False
    where = np.linspace(low, high, 32)
    steps = [np.interp(where, grid, np.gradient(grid)) for grid in (wave, other)]
    return bool(np.max(np.abs(steps[0] / steps[1] - 1.0)) < 0.02)


def _nearest(spectrum: Spectrum, reference: Spectrum) -> GridSpectrum:
    """Return the spectrum with each bin of the grid taking the nearest one; neighbours that took the same correlate."""
    grid = _as_it_is(spectrum)
    middle = 0.5 * (spectrum.wave[1:] + spectrum.wave[:-1])
    index = np.searchsorted(middle, reference.wave)
    outer = edges(spectrum.wave)
    inside = (reference.wave >= outer[0]) & (reference.wave <= outer[-1])
    twice = np.append(index[1:] == index[:-1], False)
    covariance = grid.covariance[:, index]
    covariance[0] = np.where(twice, grid.var[index], covariance[0])
    mask = np.where(inside, grid.mask[index], np.uint32(Flag.NO_DATA)).astype(np.uint32)
    box, box_var = (None if array is None else array[index] for array in (grid.boxcar, grid.boxcar_var))
    return GridSpectrum(
        np.where(inside, grid.wave[index], reference.wave),
        np.where(inside, grid.flux[index], 0.0),
        np.where(inside, grid.var[index], 0.0),
        np.where(inside, covariance, 0.0),
        mask,
        grid.sky[index],
        grid.fwhm[index],
        box,
        box_var,
        grid.good[index] & inside,
        grid.present[index] & inside,
        grid.near_hit[index],
        grid.steady[index],
    )


def _as_it_is(spectrum: Spectrum) -> GridSpectrum:
    return GridSpectrum(
        spectrum.wave,
        spectrum.flux,
        spectrum.var,
        _covariance(spectrum),
        spectrum.mask,
        spectrum.sky,
        spectrum.fwhm,
        spectrum.boxcar,
        spectrum.boxcar_var,
        spectrum.good,
        spectrum.var > 0,
        _near(spectrum.mask),
        (spectrum.mask & np.uint32(UNSTEADY)) == 0,
    )


def _resampled(spectrum: Spectrum, reference: Spectrum) -> GridSpectrum:
    old, new = edges(spectrum.wave), edges(reference.wave)
    density = spectrum.unit != "electron"
    between = _covariance(spectrum)

    def moved(value: FloatArray, var: FloatArray, good: Bools | None) -> tuple[FloatArray, FloatArray, FloatArray]:
        found = rebin(old, value, var, good, new, density=density, lags=LAGS, covariance=between)
        return found.value, found.var, found.fraction

    best = rebin(old, spectrum.flux, spectrum.var, spectrum.good, new, density=density, lags=LAGS, covariance=between)
    everything, its_var, present = moved(spectrum.flux, spectrum.var, None)
    sky, _, _ = moved(spectrum.sky, spectrum.var, None)
    good = best.fraction >= LEAST if density else best.fraction >= 1.0 - 1e-6
    box = (
        None
        if spectrum.boxcar is None or spectrum.boxcar_var is None
        else moved(spectrum.boxcar, spectrum.boxcar_var, None)
    )
    mask = _moved_mask(spectrum.mask, old, new)
    mask = np.where(good, mask & ~np.uint32(UNUSABLE), mask).astype(np.uint32)
    return GridSpectrum(
        reference.wave,
        np.where(good, best.value, everything),
        np.where(good, best.var, its_var),
        np.where(good, best.covariance, 0.0),
        mask,
        sky,
        np.interp(reference.wave, spectrum.wave, spectrum.fwhm),
        None if box is None else box[0],
        None if box is None else box[1],
        good,
        present > 0,
        _near(_moved_mask(spectrum.mask, old, new)),
        (mask & np.uint32(UNSTEADY)) == 0,
    )


def _covariance(spectrum: Spectrum) -> FloatArray:
    """Return the covariance (LAGS, n) of each bin with the next ones."""
    n, result = len(spectrum.wave), np.zeros((LAGS, len(spectrum.wave)))
    if spectrum.correlation is not None:
        sigma = spectrum.err
        for lag in range(1, min(LAGS, len(spectrum.correlation)) + 1):
            result[lag - 1, : n - lag] = spectrum.correlation[lag - 1, : n - lag] * sigma[:-lag] * sigma[lag:]
    return result


def _moved_mask(mask: NDArray[np.uint32], old: FloatArray, new: FloatArray) -> NDArray[np.uint32]:
    """Return for each new bin the flags of all old bins that reach into it; NO_DATA beyond the old grid."""
    first = np.searchsorted(old, new[:-1], side="right") - 1
    last = np.searchsorted(old, new[1:], side="left") - 1
    found = np.zeros(len(new) - 1, dtype=np.uint32)
    for step in range(int(np.max(last - first)) + 1):
        index = np.minimum(first + step, last)
        inside = (index >= 0) & (index < len(mask))
        found |= np.where(inside, mask[np.clip(index, 0, len(mask) - 1)], np.uint32(Flag.NO_DATA))
    return found


def _near(mask: NDArray[np.uint32], reach: int = 2) -> Bools:
    hit = (mask & np.uint32(HITS)) != 0
    near = hit.copy()
    for step in range(1, reach + 1):
        near[step:] |= hit[:-step]
        near[:-step] |= hit[step:]
    return near
