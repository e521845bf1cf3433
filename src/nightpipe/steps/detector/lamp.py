"""What a lamp flat is made of: the lamp's spectrum, the slit's illumination, stray light, and the pixels' response.

Along a slit that `Trace` follows, ``lamp(x, y) = spectrum(x) * illumination(u; x) * wide(x, y) * response(x, y)``, with
u the distance from the slit's centre: dust on the slit runs along the spectrum's tilt, not along rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import mad_std, running_median
from nightpipe.maths.smooth import penalised_spline
from nightpipe.model.traces import Trace

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Slit:
    """One slit on the pixels: `inside` (ny, nx), and `offset` (ny, nx) [pixel] from its centre line."""

    inside: Bools
    offset: FloatArray

    @property
    def places(self) -> FloatArray:
        """Return the offsets, one pixel apart, at which the slit's illumination is kept."""
        within = self.offset[self.inside]
        return np.arange(np.floor(within.min()), np.ceil(within.max()) + 1)


def slit_on(trace: Trace, shape: tuple[int, int]) -> Slit:
    """Return where the slit that `trace` describes falls on an image of `shape`."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])
    inside = (y >= trace.lower(x)) & (y <= trace.upper(x))
    return Slit(inside, y - trace.centre(x))


def block_edges(nx: int, width: int) -> list[tuple[int, int]]:
    """Return column ranges of about `width` that cover [0, nx)."""
    edges = np.linspace(0, nx, max(nx // width, 1) + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def profiles(
    lamp: NDArray[Any], good: Bools, slit: Slit, blocks: list[tuple[int, int]]
) -> tuple[FloatArray, FloatArray]:
    """Return the slit profile of each block of columns (n, len(places)), unit median, and each block's light (n,).

    Where a block has no good pixel at a place the profile is nan.
    """
    use = good & slit.inside
    values = np.where(use, lamp, 0.0)
    light = np.zeros(len(blocks))
    rows = []
    for k, (start, stop) in enumerate(blocks):
        count = use[:, start:stop].sum(axis=1)
        mean = np.divide(values[:, start:stop].sum(axis=1), count, where=count > 0, out=np.full(len(count), np.nan))
        middle = slit.offset[:, (start + stop) // 2]
        light[k] = np.nanmedian(mean) if np.isfinite(mean).any() else 0.0
        row = np.interp(slit.places, middle[count > 0], mean[count > 0]) if (count > 0).any() else slit.places * np.nan
        rows.append(row / light[k] if light[k] > 0 else row * np.nan)
    return np.array(rows), light


def through_slit(shapes: FloatArray, light: FloatArray, *, faint: float = 0.25, reach: int = 6) -> FloatArray:
    """Return for each block the fraction of its light that came through the slit, 1 where nothing speaks against it.

    Dust and roughness of the slit leave one fine structure in the profile at all wavelengths; stray light has none.
    The fraction is the amplitude of the fine structure relative to that of the brightest blocks, which may lie up to
    `reach` pixels off. Only blocks with less than `faint` of the bright ones' light can be suspected: stray light is
    weak, and elsewhere a blurred slit would look like it.
    """
    fine = shapes - running_median(np.nan_to_num(shapes, nan=0.0), 25, axis=1)
    bright = float(np.nanpercentile(light, 85))
    reference = np.nanmedian(fine[light >= 0.6 * bright], axis=0)
    keep = np.isfinite(reference) & (np.abs(reference) < 0.1) & np.isfinite(fine[light > 0]).all(axis=0)
    result = np.ones(len(light))
    if keep.sum() < 50:
        return result
    for k in np.flatnonzero((light < faint * bright) & (light > 0)):
        value, error = _amplitude(np.where(keep, fine[k], 0.0), np.where(keep, reference, 0.0), reach)
        result[k] = value if error < 0.1 else 1.0
    return result


def _amplitude(fine: FloatArray, reference: FloatArray, reach: int) -> tuple[float, float]:
    """Return the amplitude of `reference` in `fine` at the best shift within `reach`, and its error."""
    power = float(np.sum(reference**2)) or 1e-30
    shifted = [np.roll(reference, shift) for shift in range(-reach, reach + 1)]
    values = [float(fine @ other) / power for other in shifted]
    best = int(np.argmax(values))
    return values[best], float(np.std(fine - values[best] * shifted[best])) / power**0.5


def illumination(
    shapes: FloatArray, weight: FloatArray, slit: Slit, blocks: list[tuple[int, int]], order: int
) -> FloatArray:
    """Return the slit's illumination on all pixels (ny, nx): at each place a polynomial of `order` along x.

    Blocks count by `weight`; beyond the outermost block with a tenth of the largest, the illumination is held.
    """
    centres = np.array([(start + stop - 1) / 2 for start, stop in blocks])
    whole = np.asarray(np.isfinite(shapes).all(axis=1))
    ok = whole & (weight > 0.1 * np.max(weight, initial=0.0)) & (weight > 0)
    if not ok.any():
        ok = whole
    order = min(order, int(ok.sum()) - 1)
    if order < 0:
        return np.ones(slit.offset.shape)
    span = float(np.ptp(centres)) or 1.0
    basis = np.polynomial.chebyshev.chebvander(2 * (centres - centres[0]) / span - 1, order)
    w = np.sqrt(np.where(ok, np.maximum(weight, 1e-6), 0.0))
    coef, *_ = np.linalg.lstsq(basis * w[:, None], np.nan_to_num(shapes) * w[:, None], rcond=None)
    x = np.clip(np.arange(slit.offset.shape[1]), centres[ok].min(), centres[ok].max())
    along = np.polynomial.chebyshev.chebvander(2 * (x - centres[0]) / span - 1, order)
    return _on_pixels(along @ coef, slit)


def _on_pixels(profile: FloatArray, slit: Slit) -> FloatArray:
    """Interpolate `profile` (nx, len(places)) linearly to the slit offsets of all pixels (ny, nx)."""
    place = np.clip(slit.offset - slit.places[0], 0, len(slit.places) - 1.000001)
    below = place.astype(np.int64)
    rest = place - below
    columns = np.arange(slit.offset.shape[1])
    return np.asarray(profile[columns, below] * (1 - rest) + profile[columns, below + 1] * rest)


def spectrum(
    lamp: NDArray[Any], good: Bools, slit: Slit, shape: FloatArray, spacing: int, smooth_from: int = 0
) -> FloatArray:
    """Return the lamp's spectrum (nx,) in the unit of the lamp; 0 where there is no light.

    Each column's value is its light over that of the illumination `shape` (ny, nx). From column `smooth_from` on, where
    the detector may fringe, a spline with knots `spacing` pixels apart follows the logarithms, so that fringes stay in
    the flat; before it the columns themselves, so that the lamp's own lines do not. Single columns that stand out are
    the detector's: there the neighbours' cubic counts.
    """
    use = good & slit.inside & (shape > 0.2)
    norm = np.sum(np.where(use, shape, 0.0), axis=0)
    column = np.divide(np.sum(np.where(use, lamp, 0.0), axis=0), norm, where=norm > 0, out=np.zeros(lamp.shape[1]))
    lit = (column > 0) & (use.sum(axis=0) > 0.3 * max(int(slit.inside.sum(axis=0).max()), 1))
    if lit.sum() < 8:
        return np.zeros(lamp.shape[1])
    value = np.interp(np.arange(len(column)), np.flatnonzero(lit), np.log(column[lit]))
    fine = _without_lone_columns(value)
    if smooth_from < len(value):
        knots = max(len(column) // spacing, 4)
        fine[smooth_from:] = penalised_spline(value, lit.astype(np.float64), knots=knots, clip=20.0).value[smooth_from:]
    return np.where(lit, np.exp(fine), 0.0)


def _without_lone_columns(value: FloatArray, limit: float = 8.0) -> FloatArray:
    """Return `value` (nx,) with points that differ from the cubic through their four neighbours replaced by it."""
    if len(value) < 5:
        return value.copy()
    cubic = value.copy()
    cubic[2:-2] = (4 * (value[1:-3] + value[3:-1]) - value[:-4] - value[4:]) / 6
    off = np.abs(value - cubic)
    highest = off >= np.maximum(np.roll(off, 1), np.roll(off, -1))  # a lone column upsets its neighbours' cubics, too
    return np.where(highest & (off > max(limit * float(mad_std(value - cubic)), 0.01)), cubic, value)


def wide(ratio: FloatArray, good: Bools, size: int) -> FloatArray:
    """Return the structure of `ratio` (ny, nx) wider than `size` pixels: medians of blocks, joined by straight lines.

    Blocks without enough good pixels take the value 1.
    """
    ny, nx = ratio.shape
    rows, columns = block_edges(ny, size), block_edges(nx, size)
    grid = np.ones((len(rows), len(columns)))
    for i, (y0, y1) in enumerate(rows):
        for j, (x0, x1) in enumerate(columns):
            keep = good[y0:y1, x0:x1]
            if keep.mean() > 0.3:
                grid[i, j] = np.median(ratio[y0:y1, x0:x1][keep])
    return bilinear(grid, _centres(rows), _centres(columns), ratio.shape)


def _centres(blocks: list[tuple[int, int]]) -> FloatArray:
    return np.array([(start + stop - 1) / 2 for start, stop in blocks])


def bilinear(grid: FloatArray, y: FloatArray, x: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Interpolate `grid` at rows `y` and columns `x` to all pixels; beyond the outermost the value is held."""
    rows = np.array([np.interp(np.arange(shape[1]), x, row) for row in grid])
    place = np.clip(np.interp(np.arange(shape[0]), y, np.arange(len(y))), 0, len(y) - 1)
    below = np.minimum(place.astype(np.int64), max(len(y) - 2, 0))
    rest = (place - below)[:, None]
    above = np.minimum(below + 1, len(y) - 1)
    return np.asarray(rows[below] * (1 - rest) + rows[above] * rest)
