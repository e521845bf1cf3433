"""Medians of images by sorting networks: 5 x 5 separable ones, and smooth models of spectra in long windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F32, I64, U8, flags, float32, same_shape
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.networks import merge_exchange, sort_columns
from nightpipe.kernels.threads import each_strip

_STEP = 4
_WIDTH = 256


def spectral_model(
    data: ArrayLike, mask: ArrayLike | None = None, *, half_slit: int = 20, half_dispersion: int = 20
) -> F32:
    """Return a smooth model of a long-slit frame: sky lines, then objects, without anything small.

    Running medians along the slit (y), within +-`half_slit` pixels, follow sky lines; medians of the rest along the
    dispersion (x), within +-`half_dispersion`, follow objects. `data` (ny, nx), `mask` non-zero where bad. Cosmic rays,
    emission lines of objects and defects stay out of it.
    """
    image = float32(data)
    bad = flags(np.zeros(image.shape, dtype=bool) if mask is None else mask)
    same_shape("data and mask", image, bad)
    sky = running_median(image, bad, half_slit)
    rest = float32((image - sky).T)
    return float32(sky + running_median(rest, float_flags(bad), half_dispersion).T)


def float_flags(bad: U8) -> U8:
    """Return the flags of the transposed image."""
    return np.ascontiguousarray(bad.T)


def running_median(image: F32, bad: U8, half: int) -> F32:
    """Return medians of the good pixels within +-`half` rows, (ny, nx); every fourth row exactly, linear between them.

    Where a window has no good pixel the median is 0.
    """
    ny, nx = image.shape
    rows = np.unique(np.append(np.arange(0, ny, _STEP), ny - 1)).astype(np.int64)
    coarse = np.zeros((len(rows), nx), dtype=np.float32)
    pairs = merge_exchange(2 * half + 1)

    def work(start: int, stop: int) -> None:
        _window_medians(image, bad, half, pairs, rows[start:stop], coarse[start:stop])

    each_strip(work, len(rows), 16)
    result = np.empty_like(image)
    _between_rows(rows, coarse, result)
    return result


@kernel
def _window_medians(image: F32, bad: U8, half: int, pairs: I64, rows: I64, out: F32) -> None:
    ny, nx = image.shape
    for start in range(0, nx, _WIDTH):
        stop = min(start + _WIDTH, nx)
        tile = np.empty((2 * half + 1, stop - start), dtype=np.float32)
        for r in range(rows.size):
            for i in range(2 * half + 1):
                y = rows[r] + i - half
                if 0 <= y < ny:
                    _take(image[y, start:stop], bad[y, start:stop], tile[i])
                else:
                    for k in range(stop - start):
                        tile[i, k] = np.float32(np.inf)
            good = _count(tile)
            sort_columns(tile, pairs)
            for k in range(stop - start):
                n = int(good[k])
                if n > 0:
                    out[r, start + k] = np.float32(0.5) * (tile[(n - 1) // 2, k] + tile[n // 2, k])


@helper
def _take(image: F32, bad: U8, out: F32) -> None:
    """Copy a piece of a row, bad pixels as infinity."""
    none = np.float32(np.inf)
    for k in range(out.size):
        out[k] = image[k] if abs(image[k]) < np.float32(3e38) else none
    for k in range(out.size):
        out[k] = none if bad[k] else out[k]


@helper
def _count(tile: F32) -> F32:
    good = np.zeros(tile.shape[1], dtype=np.float32)
    for i in range(tile.shape[0]):
        row = tile[i]
        for k in range(good.size):
            good[k] += np.float32(1) if row[k] < np.float32(3e38) else np.float32(0)
    return good


@kernel
def _between_rows(rows: I64, coarse: F32, result: F32) -> None:
    for r in range(rows.size):
        after = min(r + 1, rows.size - 1)
        for y in range(rows[r], max(rows[after], rows[r] + 1)):
            part = np.float32((y - rows[r]) / max(rows[after] - rows[r], 1))
            for x in range(result.shape[1]):
                result[y, x] = coarse[r, x] + part * (coarse[after, x] - coarse[r, x])


@helper
def _median5(a: F32, b: F32, c: F32, d: F32, e: F32, out: F32) -> None:
    """Write the medians of five rows, pixel by pixel: seven exchanges (Devillard 1998, opt_med5)."""
    for k in range(out.size):
        p, q = min(a[k], b[k]), max(a[k], b[k])
        r, s = min(d[k], e[k]), max(d[k], e[k])
        low, high = max(p, r), min(q, s)
        t = c[k]
        p, q = min(low, high), max(low, high)
        out[k] = max(p, min(q, t))


@kernel
def median5(image: F32, out: F32) -> None:
    """Write the median over 5 pixels along x of medians over 5 pixels along y; edges repeat the last pixel."""
    ny, nx = image.shape
    row = np.empty(nx + 4, dtype=np.float32)
    for y in range(ny):
        below, down = image[max(y - 2, 0)], image[max(y - 1, 0)]
        up, above = image[min(y + 1, ny - 1)], image[min(y + 2, ny - 1)]
        _median5(below, down, image[y], up, above, row[2 : nx + 2])
        row[0] = row[1] = row[2]
        row[nx + 2] = row[nx + 3] = row[nx + 1]
        _median5(row[0:nx], row[1 : nx + 1], row[2 : nx + 2], row[3 : nx + 3], row[4 : nx + 4], out[y])
