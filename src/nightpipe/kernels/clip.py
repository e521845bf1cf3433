"""The compiled part of `combine`: tiles of the stack are sorted, clipped from both ends, and averaged.

`choice` holds low, high, iterations, floor, whether the scale is given, whether the median is wanted, whether the
weights differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.arrays import F32, F64, I64, U8
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.networks import sort_columns

_TILE_BYTES = 20480  # a sorted tile stays in the first-level cache


@kernel
def clip_tiles(
    values: F32,
    bad: U8,
    variance: F32,
    weights: F64,
    pairs: I64,
    mad: F64,
    choice: F64,
    value: F32,
    error: F32,
    used: NDArray[np.uint16],
    rejected: NDArray[np.uint16],
) -> None:
    """Clip and combine a strip (n, npix) tile by tile into the four outputs (npix,)."""
    n, size = values.shape
    width = min(max(_TILE_BYTES // (4 * n), 32), 512)
    for start in range(0, size, width):
        stop = min(start + width, size)
        tile = np.empty((n, stop - start), dtype=np.float32)
        good = _load(values, bad, start, tile)
        sort_columns(tile, pairs)
        fixed = _given_scale(variance, values, bad, start, stop, pairs, choice)
        first, last = _limits(tile, good, mad, fixed, choice)
        for k in range(stop - start):
            used[start + k] = last[k] - first[k]
            rejected[start + k] = good[k] - (last[k] - first[k])
        ends = _ends(tile, first, last)
        if variance.shape[0] or choice[6] > 0:
            _weigh(values, bad, variance, weights, start, ends, value[start:stop], error[start:stop])
        else:
            _average(tile, first, last, ends, value[start:stop], error[start:stop])
        if choice[5] > 0:
            _to_median(tile, first, last, value[start:stop], error[start:stop])


@helper
def _load(values: F32, bad: U8, start: int, tile: F32) -> I64:
    """Copy into `tile` with +inf where a pixel is bad or not finite; return the number of good values a pixel."""
    width = tile.shape[1]
    good, number = np.zeros(width, dtype=np.float32), np.empty(width, dtype=np.int64)
    top, none, one = np.float32(3.0e38), np.float32(np.inf), np.float32(1)
    for i in range(values.shape[0]):
        row, out = values[i, start : start + width], tile[i]
        for k in range(width):
            out[k] = row[k] if abs(row[k]) < top else none
        if bad.shape[0]:
            flag = bad[i, start : start + width]
            for k in range(width):
                out[k] = none if flag[k] else out[k]
        for k in range(width):
            good[k] += one if out[k] < top else np.float32(0)
    for k in range(width):
        number[k] = int(good[k])
    return number


@helper
def _given_scale(variance: F32, values: F32, bad: U8, start: int, stop: int, pairs: I64, choice: F64) -> F32:
    """Return sigma from the median variance of each pixel's good values; empty where the scale is empirical."""
    if choice[4] == 0:
        return np.empty(0, dtype=np.float32)
    tile, sigma = np.empty((values.shape[0], stop - start), dtype=np.float32), np.zeros(stop - start, dtype=np.float32)
    good = _load(values, bad, start, tile)
    for i in range(tile.shape[0]):
        for k in range(sigma.size):
            tile[i, k] = variance[i, start + k] if tile[i, k] < np.float32(np.inf) else np.float32(np.inf)
    sort_columns(tile, pairs)
    for k in range(sigma.size):
        if good[k]:
            sigma[k] = np.sqrt(max(_middle(tile, 0, good[k], k), np.float32(0)))
    return sigma


@helper
def _middle(tile: F32, first: int, last: int, k: int) -> np.float32:
    """Return the median of the sorted column k between `first` and `last`."""
    return np.float32(0.5) * (tile[(first + last - 1) // 2, k] + tile[(first + last) // 2, k])


@helper
def _limits(tile: F32, good: I64, mad: F64, fixed: F32, choice: F64) -> tuple[I64, I64]:
    """Return for each sorted column the half-open range that clipping leaves.

    The first two clips run over whole rows of the tile; the few columns that still change are finished one by one.
    """
    width = tile.shape[1]
    first, last = np.zeros(width, dtype=np.int64), np.empty(width, dtype=np.int64)
    for k in range(width):
        last[k] = good[k]
    turns = int(choice[2])
    if turns < 1:
        return first, last
    centre = _middles(tile, first, last)
    sigma = fixed if fixed.size else _start(tile, good, mad, centre)
    _narrow_all(tile, first, last, centre, sigma, choice)
    if turns < 2:
        return first, last
    centre = _middles(tile, first, last)
    sigma = fixed if fixed.size else _scatter(tile, first, last, _ends(tile, first, last), centre)
    moved = _narrow_all(tile, first, last, centre, sigma, choice)
    for k in range(width):
        turn = 2
        while turn < turns and moved[k]:
            middle = _middle(tile, first[k], last[k], k)
            spread = sigma[k] if fixed.size else _scatter_of(tile, first[k], last[k], k, middle)
            moved[k] = _narrow(tile, first, last, k, middle, spread, choice)
            turn += 1
    return first, last


@helper
def _narrow_all(tile: F32, first: I64, last: I64, centre: F32, sigma: F32, choice: F64) -> U8:
    """Narrow every column once, counting what lies beyond the clip row by row; return where anything went."""
    n, width = tile.shape
    low, high, floor = np.float32(choice[0]), np.float32(choice[1]), np.float32(choice[3])
    least, most = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    below, above = np.zeros(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
    for k in range(width):
        scale = max(floor, sigma[k])
        least[k], most[k] = centre[k] - low * scale, centre[k] + high * scale
    for i in range(n):
        row = tile[i]
        for k in range(width):
            below[k] += np.float32(1) if row[k] < least[k] else np.float32(0)
        for k in range(width):
            above[k] += np.float32(1) if row[k] > most[k] else np.float32(0)
    moved = np.zeros(width, dtype=np.uint8)
    for k in range(width):
        a, b = max(first[k], int(below[k])), min(last[k], n - int(above[k]))
        if b > a and b - a < last[k] - first[k]:
            first[k], last[k], moved[k] = a, b, 1
    return moved


@helper
def _middles(tile: F32, first: I64, last: I64) -> F32:
    """Return the median of each column's range, 0 where it is empty."""
    centre = np.zeros(first.size, dtype=np.float32)
    for k in range(first.size):
        if last[k] > first[k]:
            centre[k] = _middle(tile, first[k], last[k], k)
    return centre


@helper
def _start(tile: F32, good: I64, mad: F64, centre: F32) -> F32:
    """Return sigma from the MAD, or the standard deviation where the MAD is 0 (as with coarsely digitised values)."""
    n, width = tile.shape
    sigma = _mads(tile, centre)
    zero = False
    for k in range(width):
        if good[k] < n:
            sigma[k] = _mad_of(tile, good[k], k, centre[k])
        sigma[k] *= mad[good[k]]
        zero |= sigma[k] <= 0
    if zero:
        first = np.zeros(width, dtype=np.int64)
        plain = _scatter(tile, first, good, _ends(tile, first, good), centre)
        for k in range(width):
            sigma[k] = sigma[k] if sigma[k] > 0 else plain[k]
    return sigma


@helper
def _mads(tile: F32, middle: F32) -> F32:
    """Return the median absolute deviation of each sorted column without bad values (`_mad_of` for all at once)."""
    n, width = tile.shape
    total = np.zeros(width, dtype=np.float32)
    for h in ((n + 1) // 2, n // 2 + 1):
        best = np.empty(width, dtype=np.float32)
        for k in range(width):
            best[k] = np.float32(np.inf)
        for i in range(n - h + 1):
            below, above = tile[i], tile[i + h - 1]
            for k in range(width):
                a, b = middle[k] - below[k], above[k] - middle[k]
                span = max(b, a)
                best[k] = min(best[k], span)
        for k in range(width):
            total[k] += np.float32(0.5) * best[k]
    return total


@helper
def _mad_of(tile: F32, n: int, k: int, middle: np.float32) -> np.float32:
    """Return the median absolute deviation of the sorted first n values of column k.

    The h values nearest the median are neighbours in the sorted column: the smallest of all such spans is wanted.
    """
    total = np.float32(0)
    for h in ((n + 1) // 2, n // 2 + 1):
        best = np.float32(np.inf)
        for i in range(n - h + 1):
            span = max(middle - tile[i, k], tile[i + h - 1, k] - middle)
            best = min(best, span)
        total += np.float32(0.5) * best
    return total if n else np.float32(0)


@helper
def _scatter(tile: F32, first: I64, last: I64, ends: F32, centre: F32) -> F32:
    """Return the standard deviation of each column's range, 0 for fewer than two values."""
    one, two = _moments(tile, ends, centre)
    for k in range(centre.size):
        n = np.float32(last[k] - first[k])
        spread = max(two[k] - one[k] * one[k] / n, np.float32(0)) if n > 1 else np.float32(0)
        two[k] = np.sqrt(spread / (n - 1)) if n > 1 else np.float32(0)
    return two


@helper
def _moments(tile: F32, ends: F32, centre: F32) -> tuple[F32, F32]:
    """Return the sums of deviation and squared deviation from `centre` of the values within `ends`."""
    width = centre.size
    one, two = np.zeros(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
    least, most = ends[0], ends[1]
    for i in range(tile.shape[0]):
        row = tile[i]
        for k in range(width):
            v = row[k]
            d = v - centre[k] if (v >= least[k]) & (v <= most[k]) else np.float32(0)
            one[k] += d
            two[k] += d * d
    return one, two


@helper
def _scatter_of(tile: F32, first: int, last: int, k: int, centre: np.float32) -> np.float32:
    """Return the standard deviation of one column's range."""
    n = last - first
    one = two = np.float32(0)
    for i in range(first, last):
        d = tile[i, k] - centre
        one += d
        two += d * d
    return np.sqrt(max(two - one * one / n, np.float32(0)) / (n - 1)) if n > 1 else np.float32(0)


@helper
def _narrow(tile: F32, first: I64, last: I64, k: int, centre: np.float32, sigma: np.float32, choice: F64) -> bool:
    """Take what lies beyond the clip from both ends of column k; return whether anything went."""
    scale = max(sigma, np.float32(choice[3]))
    least, most = centre - np.float32(choice[0]) * scale, centre + np.float32(choice[1]) * scale
    a, b = first[k], last[k]
    while a < b and tile[a, k] < least:
        a += 1
    while b > a and tile[b - 1, k] > most:
        b -= 1
    if b <= a or b - a == last[k] - first[k]:
        return False
    first[k], last[k] = a, b
    return True


@helper
def _average(tile: F32, first: I64, last: I64, ends: F32, value: F32, error: F32) -> None:
    """Write mean and standard error of each column's range; sums about its middle keep float32 exact enough."""
    centre = _middles(tile, first, last)
    one, two = _moments(tile, ends, centre)
    for k in range(value.size):
        n = np.float32(last[k] - first[k])
        if n > 0:
            value[k] = centre[k] + one[k] / n
        if n > 1:
            error[k] = np.sqrt(max(two[k] - one[k] * one[k] / n, np.float32(0)) / (n - 1) / n)


@helper
def _ends(tile: F32, first: I64, last: I64) -> F32:
    """Return the least and the largest value kept of each column, (2, width)."""
    ends = np.empty((2, tile.shape[1]), dtype=np.float32)
    for k in range(tile.shape[1]):
        empty = last[k] <= first[k]
        ends[0, k] = np.float32(np.inf) if empty else tile[first[k], k]
        ends[1, k] = -np.float32(np.inf) if empty else tile[last[k] - 1, k]
    return ends


@helper
def _weigh(values: F32, bad: U8, variance: F32, weights: F64, start: int, ends: F32, value: F32, error: F32) -> None:
    """Write the weighted mean of the values within `ends`, and its error from `variance`, else from the scatter."""
    for k in range(value.size):
        total = square = mean = noise = scatter = 0.0
        at = start + k
        for i in range(values.shape[0]):
            keep = (values[i, at] >= ends[0, k]) & (values[i, at] <= ends[1, k])
            if keep and (bad.shape[0] == 0 or bad[i, at] == 0):
                w = weights[i]
                total += w
                square += w * w
                step = values[i, at] - mean
                mean += step * w / total if total > 0 else 0.0
                scatter += w * step * (values[i, at] - mean)
                noise += w * w * variance[i, at] if variance.shape[0] else 0.0
        if total > 0:
            value[k] = mean
            freedom = total * total / square - 1
            empirical = scatter / total / freedom if freedom > 1e-9 else 0.0
            error[k] = np.sqrt(noise) / total if variance.shape[0] else np.sqrt(max(empirical, 0.0))


@helper
def _to_median(tile: F32, first: I64, last: I64, value: F32, error: F32) -> None:
    """Replace the mean by the median, and its error by the median's (exact for 1 and 2 values, 1% for more)."""
    for k in range(value.size):
        n = last[k] - first[k]
        if n > 0:
            value[k] = _middle(tile, first[k], last[k], k)
            error[k] *= np.sqrt(0.5 * np.pi * n / (n - 1 + 0.5 * np.pi + (n % 2 == 0) * (0.5 * np.pi - 1)))
