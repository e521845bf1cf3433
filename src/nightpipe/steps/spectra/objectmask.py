"""Rows of the slit that hold objects, so that the sky is fitted elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from nightpipe.model.spectrum import Source

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHUNK = 96
"""Columns that are collapsed together: an object's trace hardly moves within them."""


UNEVEN = 0.05
"""Share of the sky up to which brightness along the slit may be uneven after the flat."""

VIGNETTED = 0.3
"""The same at the ends of the slit. A faint star there is not masked either, until it has been found as a source."""

SHADED = 0.6
"""Share of the sky below which rows at the ends of the slit are taken to lie outside it."""


def source_mask(sources: tuple[Source, ...], shape: tuple[int, int], width: float) -> Mask:
    """Return the pixels within `width` FWHM of the trace of any source."""
    rows = np.arange(shape[0], dtype=np.float64)[:, None]
    columns = np.arange(shape[1], dtype=np.float64)
    mask = np.zeros(shape, dtype=bool)
    for source in sources:
        mask |= np.abs(rows - source.trace.centre(columns)[None, :]) <= width * source.fwhm
    return mask


def bright_rows(data: Array, sigma: Array, light: Array, ok: Mask, threshold: float) -> Mask:
    """Return the pixels of rows that are brighter than the sky between them, chunk by chunk of columns.

    `data` (ny, nx) is without its sky, of which `light` is the level; `sigma` its error, `ok` what may be measured.
    What is left along the slit is a parabola, fitted with rejection from above; a run of rows counts when its excess
    passes `threshold` sigma, and is followed outwards while the excess is above two sigma (following it further would
    collect the rows that fluctuated upwards, and leave the sky too low).
    """
    mask = np.zeros(data.shape, dtype=bool)
    for start in range(0, data.shape[1], CHUNK):
        part = slice(start, min(start + CHUNK, data.shape[1]))
        level, error = row_medians(data[:, part], sigma[:, part], ok[:, part])
        sky = float(np.median(light[:, part][ok[:, part]])) if ok[:, part].any() else 0.0
        mask[:, part] = _object_rows(level, error, threshold, sky)[:, None]
    return (mask | _neighbours(mask)) & ok


def dark_ends(data: Array, sigma: Array, sky: Array, ok: Mask) -> Mask:
    """Return the rows (ny) at the ends of the slit that see less than `SHADED` of the sky: its edge, or a shadow.

    Where nobody measured the slit's edges the whole window counts as slit; rows without light would bend the fit along
    the slit. `sky` (nx) is its spectrum, to which each row's light is compared by regression. An edge is sharp: where
    light falls gently, as in the wings of a bright star, there is none.
    """
    weight = np.where(ok, sky[None, :], 0.0)
    square = np.maximum(np.sum(weight * sky[None, :], axis=1), 1e-9)
    share, error = np.sum(weight * data, axis=1) / square, np.sqrt(np.sum(weight**2 * sigma**2, axis=1)) / square
    known = ok.any(axis=1)
    dark = ~known | (share + 3.0 * error < SHADED * np.median(share[known]))
    return (_sharp_end(dark, share) | _sharp_end(dark[::-1], share[::-1])[::-1]) & known


def _sharp_end(dark: Mask, share: Array) -> Mask:
    """Return the run of dark rows at the beginning, if two rows on either side of its end differ by the factor."""
    run = np.minimum.accumulate(dark)
    stop = int(run.sum())
    inner = share[min(stop + 1, len(share) - 1)]
    sharp = 0 < stop < len(run) and share[max(stop - 2, 0)] < SHADED * inner
    return run if sharp else np.zeros_like(run)


def row_medians(data: Array, sigma: Array, ok: Mask) -> tuple[Array, Array]:
    """Return each row's median and its error; rows with fewer than a quarter of their pixels get an infinite error."""
    count = ok.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = _masked_median(data, ok)
        error = 1.2533 * np.sqrt(np.sum(np.where(ok, sigma, 0.0) ** 2, axis=1)) / count
    known = (count >= max(0.25 * data.shape[1], 1)) & np.isfinite(level)
    return np.where(known, level, 0.0), np.where(known, error, np.inf)


def _masked_median(data: Array, ok: Mask) -> Array:
    """Return the median of each row's good pixels, NaN where there is none."""
    ordered = np.sort(np.where(ok, data, np.inf), axis=1)
    count = ok.sum(axis=1)
    rows = np.arange(len(data))
    low, high = ordered[rows, np.maximum(count - 1, 0) // 2], ordered[rows, np.minimum(count // 2, data.shape[1] - 1)]
    return np.where(count > 0, 0.5 * (low + high), np.nan)


def _object_rows(level: Array, error: Array, threshold: float, sky: float) -> Mask:
    known = np.isfinite(error)
    if known.sum() < 8:
        return np.zeros(level.shape, dtype=bool)
    height = np.where(known, level - _baseline(level, error, known), 0.0)
    excess = height / np.where(known, error, 1.0)
    smooth = np.convolve(excess, np.ones(3), mode="same") / np.sqrt(3.0) / max(_spread(excess[known]), 1.0)
    rows = _grown(smooth > threshold, smooth > 2.0)
    return _widened(_without_slopes(rows, height, known, sky))


def _without_slopes(rows: Mask, height: Array, known: Mask, sky: float) -> Mask:
    """Leave out runs that are only uneven illumination: low against the sky, and at the slit's end or very long.

    Were they masked, nothing would tell the sky's model of them, and they would be found as objects.
    """
    result = rows.copy()
    edges = np.flatnonzero(np.diff(rows.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    for start, stop in edges:
        if stop - start > 0.2 * known.sum() and height[start:stop].max() < UNEVEN * sky:
            result[start:stop] = False
    first, last = np.flatnonzero(known)[[0, -1]]
    for outside, inward in ((first, edges), (-last - 1, -edges[::-1, ::-1])):
        for start, stop in _slopes(int(outside), inward, height, int(known.sum()), sky):
            result[start:stop] = False
    return result


def _slopes(outside: int, runs: NDArray[np.intp], height: Array, count: int, sky: float) -> list[tuple[int, int]]:
    """Return the runs that continue, with short gaps, from the end of the slit; negative rows count from the top."""
    found = []
    for near, far in runs:
        start, stop = (int(near), int(far)) if far > 0 else (int(-far), int(-near))
        if near - outside > max(2, 0.03 * count) or height[start:stop].max() > VIGNETTED * sky:
            break
        found.append((start, stop))
        outside = int(far)
    return found


def _baseline(level: Array, error: Array, known: Mask) -> Array:
    """Fit a parabola through the sky rows: objects only add light, so rejection is stricter above than below."""
    v = np.linspace(-1, 1, len(level))
    basis = legendre.legvander(v, 2)
    low, high = np.percentile(level[known], (25, 70))  # a nodded partner's object is negative
    keep = known & (level >= low) & (level <= high)
    order = 0
    inverse = 1.0 / np.where(known, error, 1.0)
    for iteration in range(12):
        order = min(iteration // 2, 2)
        part = basis[:, : order + 1]
        weighted = part * np.where(keep, inverse**2, 0.0)[:, None]
        coef = np.linalg.solve(weighted.T @ part, weighted.T @ level)
        residual = (level - part @ coef) * inverse
        scale = max(_spread(residual[keep]), 1.0)
        fresh = known & (residual < 2.5 * scale) & (residual > -4.0 * scale)
        if fresh.sum() < max(8, 0.15 * known.sum()):
            break
        if order == 2 and np.array_equal(fresh, keep):
            break
        keep = fresh
    return np.asarray(part @ coef)


def _spread(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else 1.0


def _grown(core: Mask, around: Mask) -> Mask:
    """Return the runs of `around` that hold a pixel of `core`."""
    around = around | core
    label = np.cumsum(np.diff(around.astype(np.int8), prepend=0) == 1) * around
    return around & np.isin(label, np.unique(label[core]))


def _widened(rows: Mask) -> Mask:
    """Widen every run by a quarter of its length, two rows at least: a star's wings reach below the noise."""
    wide = rows.copy()
    edges = np.flatnonzero(np.diff(rows.astype(np.int8), prepend=0, append=0))
    for start, stop in edges.reshape(-1, 2):
        extra = max(2, int(0.25 * (stop - start)))
        wide[max(start - extra, 0) : stop + extra] = True
    return wide


def _neighbours(mask: Mask) -> Mask:
    """Return the mask of the chunks to the left and right: a trace may cross a row at a chunk's border."""
    around = np.zeros_like(mask)
    around[:, CHUNK:] |= mask[:, :-CHUNK]
    around[:, :-CHUNK] |= mask[:, CHUNK:]
    return around
