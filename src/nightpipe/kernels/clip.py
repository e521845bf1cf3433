"""The compiled part of `combine`: tiles of the stack are sorted, clipped from both ends, and averaged.

`choice` holds low, high, iterations, floor, whether the scale is given, whether the median is wanted, whether the
weights differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.arrays import F32, F64, I32, I64, U8
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.networks import sort_columns

_TILE_BYTES = 32768  # a sorted tile stays in the first-level cache
_LANES = 16  # floats in a line of the cache; rows of other lengths begin anywhere on it, and took a fifth longer


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
    width = min(max(_TILE_BYTES // (4 * n), 32), 512) // _LANES * _LANES
    tile, rows, counts = _desk(n, 0)
    for start in range(0, size, width):
        stop = min(start + width, size)
        if tile.shape[1] != stop - start:
            tile, rows, counts = _desk(n, stop - start)
        good, first, last = counts[0], counts[1], counts[2]
        _load(values, bad, start, tile, good, rows[0])
        sort_columns(tile, pairs)
        fixed = _given_scale(variance, values, bad, start, stop, pairs, choice)
        _limits(tile, good, mad, fixed, choice, rows, first, last)
        for k in range(stop - start):
            used[start + k] = last[k] - first[k]
            rejected[start + k] = good[k] - (last[k] - first[k])
        if variance.shape[0] or choice[6] > 0:
            _weigh(
                values, bad, variance, weights, start, _ends(tile, first, last), value[start:stop], error[start:stop]
            )
        else:
            _average(first, last, rows, value[start:stop], error[start:stop])
        if choice[5] > 0:
            _to_median(tile, first, last, value[start:stop], error[start:stop])


@helper
def _desk(n: int, width: int) -> tuple[F32, F32, I32]:
    """Return room for a tile, for seven rows of floats and three of counts: allocated once, not for each tile.

    The rows: centre, scatter, the sums of deviations and of their squares, and three of clipping.
    """
    return (
        np.empty((n, width), dtype=np.float32),
        np.empty((7, width), dtype=np.float32),
        np.empty((3, width), dtype=np.int32),
    )


@helper
def _load(values: F32, bad: U8, start: int, tile: F32, good: I32, most: F32) -> None:
    """Copy into `tile` with +inf where a pixel is bad or not finite; count the good values of each pixel."""
    n, width = tile.shape
    top, none, lost = np.float32(3.0e38), np.float32(np.inf), False
    for k in range(width):
        most[k], good[k] = np.float32(0), n
    for i in range(n):
        row, out = values[i, start : start + width], tile[i]
        for k in range(width):
            out[k] = row[k] if abs(row[k]) < top else none
        if bad.shape[0]:
            flag = bad[i, start : start + width]
            for k in range(width):
                out[k] = none if flag[k] else out[k]
        for k in range(width):
            most[k] = max(out[k], most[k])
    for k in range(width):
        lost |= most[k] > top
    if lost:
        _leave_out(tile, good)


@helper
def _leave_out(tile: F32, good: I32) -> None:
    """Take the infinite values of each column off its count."""
    for i in range(tile.shape[0]):
        out = tile[i]
        for k in range(good.size):
            good[k] -= np.int32(0) if out[k] < np.float32(3.0e38) else np.int32(1)


@helper
def _given_scale(variance: F32, values: F32, bad: U8, start: int, stop: int, pairs: I64, choice: F64) -> F32:
    """Return sigma from the median variance of each pixel's good values; empty where the scale is empirical."""
    if choice[4] == 0:
        return np.empty(0, dtype=np.float32)
    tile, sigma = np.empty((values.shape[0], stop - start), dtype=np.float32), np.zeros(stop - start, dtype=np.float32)
    good = np.empty(stop - start, dtype=np.int32)
    _load(values, bad, start, tile, good, sigma)
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
def _limits(tile: F32, good: I32, mad: F64, fixed: F32, choice: F64, rows: F32, first: I32, last: I32) -> None:
    """Write for each sorted column the half-open range that clipping leaves, and centre and sums of that range.

    The first two clips run over whole rows of the tile; the few columns that still change are finished one by one.
    """
    centre, scatter = rows[0], rows[1]
    for k in range(good.size):
        first[k], last[k] = 0, good[k]
    turns = int(choice[2])
    _middles(tile, first, last, centre)
    if turns > 0:
        if fixed.size == 0:
            _start(tile, good, mad, centre, rows, scatter)
        _narrow_all(tile, first, last, fixed if fixed.size else scatter, choice, rows)
        _middles(tile, first, last, centre)
    _moments(tile, first, last, centre, rows[2], rows[3])
    if turns > 1:
        if fixed.size == 0:
            _scatter(first, last, rows[2], rows[3], scatter)
        _narrow_all(tile, first, last, fixed if fixed.size else scatter, choice, rows)
        _finish(tile, first, last, fixed, choice, rows)


@helper
def _finish(tile: F32, first: I32, last: I32, fixed: F32, choice: F64, rows: F32) -> None:
    """Clip on, turn after turn, each column that the second clip has narrowed; the sums lose what is clipped."""
    one, two, moved = rows[2], rows[3], rows[6]
    for k in range(moved.size):
        turn = 2
        while turn < int(choice[2]) and moved[k] > 0:
            n = np.float32(last[k] - first[k])
            square = max(two[k] - one[k] * one[k] / n, np.float32(0))
            spread = fixed[k] if fixed.size else np.sqrt(square / max(n - np.float32(1), np.float32(1)))
            middle = _middle(tile, first[k], last[k], k)
            moved[k] = _narrow(tile, first, last, k, middle, spread, choice, rows)
            turn += 1


@helper
def _narrow_all(tile: F32, first: I32, last: I32, sigma: F32, choice: F64, rows: F32) -> None:
    """Narrow every column once, and mark in the last of the `rows` where anything went; the sums lose what went."""
    n, width = tile.shape
    low, high, floor = np.float32(choice[0]), np.float32(choice[1]), np.float32(choice[3])
    centre, edge, begin, moved = rows[0], rows[4], rows[5], rows[6]
    for k in range(width):
        edge[k] = centre[k] - low * max(floor, sigma[k])
    _beyond(tile, edge, 1, begin)
    for k in range(width):
        edge[k] = -centre[k] - high * max(floor, sigma[k])
    _beyond(tile, edge, -1, moved)
    for k in range(width):
        a, b = max(first[k], np.int32(begin[k])), min(last[k], np.int32(n - moved[k]))
        begin[k] = np.float32(a)
        moved[k] = np.float32(b - a) if (b > a) & (b - a < last[k] - first[k]) else np.float32(0)
    for k in range(width):
        if moved[k] > 0:
            _cut(tile, first, last, k, int(begin[k]), int(begin[k] + moved[k]), rows)


@helper
def _cut(tile: F32, first: I32, last: I32, k: int, a: int, b: int, rows: F32) -> None:
    """Narrow the range of column k to `a` and `b`, and its sums."""
    for i in range(first[k], a):
        d = tile[i, k] - rows[0, k]
        rows[2, k], rows[3, k] = rows[2, k] - d, rows[3, k] - d * d
    for i in range(b, last[k]):
        d = tile[i, k] - rows[0, k]
        rows[2, k], rows[3, k] = rows[2, k] - d, rows[3, k] - d * d
    first[k], last[k] = a, b


@helper
def _beyond(tile: F32, edge: F32, sign: int, count: F32) -> None:
    """Count in each column the values that, times `sign`, lie below `edge`.

    The columns are sorted: rows are looked at from one end, until one has none.
    """
    n, width = tile.shape
    turn = np.float32(sign)
    for k in range(width):
        count[k] = np.float32(0)
    total, i = 1, 0
    while total > 0 and i < n:
        row, total = tile[i if sign > 0 else n - 1 - i], 0
        for k in range(width):
            below = turn * row[k] < edge[k]
            count[k] += np.float32(1) if below else np.float32(0)
            total += 1 if below else 0
        i += 1


@helper
def _middles(tile: F32, first: I32, last: I32, centre: F32) -> None:
    """Write the median of each column's range, 0 where it is empty."""
    n = tile.shape[0]
    one, two = tile[(n - 1) // 2], tile[n // 2]
    for k in range(first.size):
        centre[k] = np.float32(0.5) * (one[k] + two[k])
    for k in range(first.size):
        if last[k] - first[k] < n:
            centre[k] = _middle(tile, first[k], last[k], k) if last[k] > first[k] else np.float32(0)


@helper
def _start(tile: F32, good: I32, mad: F64, centre: F32, rows: F32, sigma: F32) -> None:
    """Write sigma from the MAD, or the standard deviation where the MAD is 0 (as with coarsely digitised values)."""
    n, width = tile.shape
    _mads(tile, centre, rows[2], sigma)
    full, zero = np.float32(mad[n]), False
    for k in range(width):
        sigma[k] *= full
    for k in range(width):
        if good[k] < n:
            sigma[k] = _mad_of(tile, good[k], k, centre[k]) * np.float32(mad[good[k]])
    for k in range(width):
        zero |= sigma[k] <= 0
    if zero:
        first = np.zeros(width, dtype=np.int32)
        plain = np.empty(width, dtype=np.float32)
        _moments(tile, first, good, centre, rows[2], rows[3])
        _scatter(first, good, rows[2], rows[3], plain)
        for k in range(width):
            sigma[k] = sigma[k] if sigma[k] > 0 else plain[k]


@helper
def _mads(tile: F32, middle: F32, best: F32, total: F32) -> None:
    """Write the median absolute deviation of each sorted column without bad values (`_mad_of` for all at once)."""
    n, width = tile.shape
    for k in range(width):
        total[k] = np.float32(0)
    for h in ((n + 1) // 2, n // 2 + 1):
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
def _scatter(first: I32, last: I32, one: F32, two: F32, spread: F32) -> None:
    """Write the standard deviation of each column's range from its sums, 0 for fewer than two values."""
    for k in range(spread.size):
        n = np.float32(last[k] - first[k])
        square = max(two[k] - one[k] * one[k] / max(n, np.float32(1)), np.float32(0))
        spread[k] = np.sqrt(square / max(n - np.float32(1), np.float32(1)))


@helper
def _moments(tile: F32, first: I32, last: I32, centre: F32, one: F32, two: F32) -> None:
    """Write the sums of deviation and squared deviation from `centre` of each column's range.

    Rows that belong to all columns are summed as they are; the others only where they belong.
    """
    n, width = tile.shape
    low, high = 0, n
    for k in range(width):
        one[k] = two[k] = np.float32(0)
    for k in range(width):
        low, high = max(low, first[k]), min(high, last[k])
    for i in range(n):
        row = tile[i]
        if low <= i < high:
            for k in range(width):
                d = row[k] - centre[k]
                one[k] += d
                two[k] += d * d
        else:
            for k in range(width):
                d = row[k] - centre[k] if (i >= first[k]) & (i < last[k]) else np.float32(0)
                one[k] += d
                two[k] += d * d


@helper
def _narrow(
    tile: F32, first: I32, last: I32, k: int, middle: np.float32, sigma: np.float32, choice: F64, rows: F32
) -> np.float32:
    """Take what lies beyond the clip from both ends of column k and from its sums; return 1 if anything went."""
    scale = max(sigma, np.float32(choice[3]))
    least, most = middle - np.float32(choice[0]) * scale, middle + np.float32(choice[1]) * scale
    a, b = first[k], last[k]
    while a < b and tile[a, k] < least:
        a += 1
    while b > a and tile[b - 1, k] > most:
        b -= 1
    if b <= a or b - a == last[k] - first[k]:
        return np.float32(0)
    _cut(tile, first, last, k, a, b, rows)
    return np.float32(1)


@helper
def _average(first: I32, last: I32, rows: F32, value: F32, error: F32) -> None:
    """Write mean and standard error of each column's range; sums about its middle keep float32 exact enough."""
    centre, one, two = rows[0], rows[2], rows[3]
    for k in range(value.size):
        n = np.float32(last[k] - first[k])
        many = max(n, np.float32(1))
        value[k] = centre[k] + one[k] / many
        square = max(two[k] - one[k] * one[k] / many, np.float32(0))
        error[k] = np.sqrt(square / max(n - np.float32(1), np.float32(1)) / many)


@helper
def _ends(tile: F32, first: I32, last: I32) -> F32:
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
def _to_median(tile: F32, first: I32, last: I32, value: F32, error: F32) -> None:
    """Replace the mean by the median, and its error by the median's (exact for 1 and 2 values, 1% for more)."""
    for k in range(value.size):
        n = last[k] - first[k]
        if n > 0:
            value[k] = _middle(tile, first[k], last[k], k)
            error[k] *= np.sqrt(0.5 * np.pi * n / (n - 1 + 0.5 * np.pi + (n % 2 == 0) * (0.5 * np.pi - 1)))
