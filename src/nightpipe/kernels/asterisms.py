"""Quads of stars found again in a catalogue by their shape, and poses judged by the odds of their matches."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F64, I64, ShapeError, float64, plain, same_shape
from nightpipe.kernels.build import helper, kernel

I32 = NDArray[np.int32]
BINS = 28
"""Cells of the hash along each of the four numbers of a code: 0.6 million cells, little work to fill and to look up."""


class QuadTable(NamedTuple):
    """Quads of a star list, hashed by shape.

    `stars` (n, 4) int32 are A, B, C, D, `code` (n, 4) the places of C and D where A is (0, 0) and B (1, 0), `size` (n,)
    the length of AB, `parity` (n,) int32 +1 or -1: seen as they are or in the mirror. `start` and `entry` list the
    quads whose code lies within `tolerance` of a cell.
    """

    stars: I32
    code: F64
    size: F64
    parity: I32
    start: I32
    entry: I32
    tolerance: float


class StarGrid(NamedTuple):
    """Stars of a plane sorted into square cells: `x`, `y` in order of cells, `start` (rows * columns + 1,)."""

    x: F64
    y: F64
    order: I64
    start: I64
    origin: tuple[float, float]
    cell: float
    columns: int
    rows: int


def quad_table(x: ArrayLike, y: ArrayLike, *, smallest: float, tolerance: float, parity: int = 0) -> QuadTable:
    """Return all quads of the stars (n,), n at most 60, whose widest pair is at least `smallest` apart.

    Geometric hashing as in Lang et al. 2010 (AJ 139, 1782), section 2.1, with the list of the image hashed instead of
    the sky's: a cone then needs no index. `parity` 0 takes both hands, else that one. Raises ShapeError.
    """
    px, py = float64(x), float64(y)
    same_shape("x and y", px, py)
    if px.size > 60 or px.ndim != 1:
        raise ShapeError("at most 60 stars in a row", f"{px.shape}")
    most = math.comb(px.size, 4)
    stars, code, size = np.empty((most, 4), np.int32), np.empty((most, 4)), np.empty(most)
    n = int(_all_quads(px, py, float(smallest), stars, code, size))
    hands = [hand for hand in (1, -1) if parity in (0, hand)]
    codes = np.concatenate([code[:n] * (1.0, hand, 1.0, hand) for hand in hands])
    hand = np.repeat(np.array(hands, np.int32), n)
    start, entry = _hashed(codes, float(tolerance))
    return QuadTable(np.tile(stars[:n], (len(hands), 1)), codes, np.tile(size[:n], len(hands)), hand, start, entry,
                     float(tolerance))  # fmt: skip


def _hashed(codes: F64, tolerance: float) -> tuple[I32, I32]:
    count = np.zeros(BINS**4 + 1, np.int32)
    nothing = np.empty(0, np.int32)
    _fill(codes, tolerance, count, nothing, 0, nothing)
    start = np.zeros_like(count)
    np.cumsum(count[:-1], out=start[1:])
    entry = np.empty(int(start[-1]), np.int32)
    count[:] = 0
    _fill(codes, tolerance, count, entry, 1, start)
    return start, entry


def star_grid(x: ArrayLike, y: ArrayLike, cell: float) -> StarGrid:
    """Return the stars (n,) of a plane sorted into cells `cell` wide, at most some four million of them."""
    px, py = float64(x), float64(y)
    same_shape("x and y", px, py)
    if not px.size:
        return StarGrid(px, py, np.zeros(0, np.int64), np.zeros(2, np.int64), (0.0, 0.0), float(cell), 1, 1)
    origin = (float(px.min()), float(py.min()))
    wide, high = float(np.ptp(px)), float(np.ptp(py))
    cell = max(float(cell), math.sqrt(wide * high / 4e6), wide / 2e6, high / 2e6, 1e-9)
    columns, rows = int(wide / cell) + 1, int(high / cell) + 1
    index = ((py - origin[1]) / cell).astype(np.int64) * columns + ((px - origin[0]) / cell).astype(np.int64)
    order = np.argsort(index, kind="stable")
    start = np.searchsorted(index[order], np.arange(rows * columns + 1)).astype(np.int64)
    return StarGrid(px[order], py[order], order, start, origin, cell, columns, rows)


def find_quads(
    table: QuadTable, x: ArrayLike, y: ArrayLike, neighbours: ArrayLike, ratio: tuple[float, float], most: int = 200_000
) -> tuple[I64, I32]:
    """Return which quads of the `table` have a twin among those of stars (n,) with three of their `neighbours` (n, k).

    Gives (m,) rows of the table and (m, 4) stars of the catalogue in the order A, B, C, D; `ratio` bounds the size of a
    catalogue's quad over that of the image's. At most `most` are returned: a search that full means nothing anyway.
    """
    px, py, near = float64(x), float64(y), plain(neighbours, np.int32)
    row, stars = np.empty(most, np.int64), np.empty((most, 4), np.int32)
    found = int(_find(px, py, near, table.code, table.size, table.start, table.entry, float(table.tolerance),
                      float(ratio[0]), float(ratio[1]), row, stars))  # fmt: skip
    return row[:found], stars[:found]


def pose_odds(
    poses: ArrayLike, x: ArrayLike, y: ArrayLike, own: ArrayLike, grid: StarGrid, *, sigma: float, density: float,
    distractors: float = 0.5,
) -> F64:  # fmt: skip
    """Return the logarithm of the odds (m,) that stars (n,), brightest first, lie where a pose puts them.

    A pose (5,) maps pixels to the plane of `grid`: X = a x - h b y + c, Y = b x + h a y + d, as (a, b, c, d, h), with
    the hand h = +-1. Each star is either a distractor or scattered by `sigma` about a catalogue star, of which there
    are `density` per unit area of the plane (Lang et al. 2010, section 2.3); the four stars `own` (m, 4) that made the
    pose do not count, and a catalogue star counts once. The best running sum is returned: catalogues end somewhere.
    """
    pose, px, py = float64(poses), float64(x), float64(y)
    same_shape("x and y", px, py)
    score = np.empty(pose.shape[0])
    used = np.full(grid.x.size, -1, np.int64)
    shape = np.array([grid.origin[0], grid.origin[1], grid.cell, grid.columns, grid.rows], np.float64)
    _odds(pose, px, py, plain(own, np.int32), grid.x, grid.y, grid.start, shape, float(sigma), float(density),
          float(distractors), used, score)  # fmt: skip
    return score


@helper
def _code(x: F64, y: F64, a: int, b: int, c: int) -> tuple[float, float]:
    """Return the place of star c where a is (0, 0) and b (1, 0)."""
    ux, uy = x[b] - x[a], y[b] - y[a]
    vx, vy = x[c] - x[a], y[c] - y[a]
    square = ux * ux + uy * uy
    return (vx * ux + vy * uy) / square, (vy * ux - vx * uy) / square


@helper
def _quad(x: F64, y: F64, four: I32, out: I32, code: F64) -> float:
    """Put four stars into canonical order; return the length of AB, or -1 where C or D lies outside the circle of AB.

    AB is the widest pair; of the four numberings that remain the one with x_C + x_D <= 1 and x_C <= x_D is taken.
    """
    a, b, widest = 0, 1, -1.0
    for i in range(3):
        for j in range(i + 1, 4):
            apart = (x[four[i]] - x[four[j]]) ** 2 + (y[four[i]] - y[four[j]]) ** 2
            if apart > widest:
                a, b, widest = i, j, apart
    if widest <= 0.0:
        return -1.0
    c = 0 if a > 0 else (1 if b > 1 else 2)  # the first of the other two; all numbers together make 6
    d = 6 - a - b - c
    cx, cy = _code(x, y, four[a], four[b], four[c])
    dx, dy = _code(x, y, four[a], four[b], four[d])
    if cx * (cx - 1) + cy * cy > 0.0 or dx * (dx - 1) + dy * dy > 0.0:
        return -1.0
    if cx + dx > 1.0:
        a, b = b, a
        cx, cy, dx, dy = 1 - cx, -cy, 1 - dx, -dy
    if cx > dx:
        c, d = d, c
        cx, cy, dx, dy = dx, dy, cx, cy
    out[0], out[1], out[2], out[3] = four[a], four[b], four[c], four[d]
    code[0], code[1], code[2], code[3] = cx, cy, dx, dy
    return math.sqrt(widest)


@kernel
def _all_quads(x: F64, y: F64, smallest: float, stars: I32, code: F64, size: F64) -> int:
    n, four = 0, np.empty(4, np.int32)
    for i in range(x.size):
        for j in range(i + 1, x.size):
            for k in range(j + 1, x.size):
                for m in range(k + 1, x.size):
                    four[0], four[1], four[2], four[3] = i, j, k, m
                    size[n] = _quad(x, y, four, stars[n], code[n])
                    if size[n] >= smallest:
                        n += 1
    return n


@helper
def _cell(value: float, low: float, high: float) -> int:
    return min(max(int((value - low) / (high - low) * BINS), 0), BINS - 1)


@kernel
def _fill(codes: F64, tolerance: float, count: I32, entry: I32, write: int, start: I32) -> None:
    """Count, or list, each quad in all cells that its tolerance touches."""
    for q in range(codes.shape[0]):
        c0, c1 = _cell(codes[q, 0] - tolerance, 0.0, 1.0), _cell(codes[q, 0] + tolerance, 0.0, 1.0)
        d0, d1 = _cell(codes[q, 1] - tolerance, -0.5, 0.5), _cell(codes[q, 1] + tolerance, -0.5, 0.5)
        e0, e1 = _cell(codes[q, 2] - tolerance, 0.0, 1.0), _cell(codes[q, 2] + tolerance, 0.0, 1.0)
        f0, f1 = _cell(codes[q, 3] - tolerance, -0.5, 0.5), _cell(codes[q, 3] + tolerance, -0.5, 0.5)
        for c in range(c0, c1 + 1):
            for d in range(d0, d1 + 1):
                for e in range(e0, e1 + 1):
                    for f in range(f0, f1 + 1):
                        cell = ((c * BINS + d) * BINS + e) * BINS + f
                        if write:
                            entry[start[cell] + count[cell]] = q
                        count[cell] += 1


@helper
def _distances(x: F64, y: F64, star: int, near: I32, apart: F64) -> int:
    """Fill the squared distances of a star, which comes first, and its neighbours; return how many it has."""
    k = 0
    while k < near.size and near[k] >= 0:
        k += 1
    for i in range(k + 1):
        p = star if i == 0 else near[i - 1]
        for j in range(i):
            q = star if j == 0 else near[j - 1]
            apart[i, j] = apart[j, i] = (x[p] - x[q]) ** 2 + (y[p] - y[q]) ** 2
    return k


@helper
def _may_be(apart: F64, i: int, j: int, m: int, least: float, most: float) -> bool:
    """Tell whether a star and three neighbours may be a quad: of a size that is sought, C and D in the circle of AB.

    In the circle over AB the squares of the distances to A and B sum up to no more than that of AB.
    """
    four, widest, a, b = (0, i, j, m), -1.0, 0, 1
    for p in range(3):
        for q in range(p + 1, 4):
            if apart[four[p], four[q]] > widest:
                widest, a, b = apart[four[p], four[q]], p, q
    if widest < least or widest > most:
        return False
    for c in range(4):
        here = apart[four[a], four[c]] + apart[four[b], four[c]]
        if c not in (a, b) and here > widest * (1.0 + 1e-9):
            return False
    return True


@kernel
def _find(
    x: F64, y: F64, near: I32, codes: F64, sizes: F64, start: I32, entry: I32, tolerance: float, low: float,
    high: float, row: I64, stars: I32,
) -> int:  # fmt: skip
    found, four, out, code = 0, np.empty(4, np.int32), np.empty(4, np.int32), np.empty(4)
    if sizes.size == 0:
        return 0
    least, most = (0.99 * low * sizes.min()) ** 2, (1.01 * high * sizes.max()) ** 2
    apart = np.empty((near.shape[1] + 1, near.shape[1] + 1))
    for star in range(x.size):
        k = _distances(x, y, star, near[star], apart)
        four[0] = star
        for i in range(k - 2):
            for j in range(i + 1, k - 1):
                for m in range(j + 1, k):
                    if not _may_be(apart, i + 1, j + 1, m + 1, least, most):
                        continue
                    four[1], four[2], four[3] = near[star, i], near[star, j], near[star, m]
                    size = _quad(x, y, four, out, code)
                    if size > 0.0:
                        found = _twins(codes, sizes, start, entry, tolerance, low, high, size, out, code, row, stars,
                                       found)  # fmt: skip
    return found


@helper
def _twins(
    codes: F64, sizes: F64, start: I32, entry: I32, tolerance: float, low: float, high: float, size: float, four: I32,
    code: F64, row: I64, stars: I32, found: int,
) -> int:  # fmt: skip
    """List the quads whose code and size are those of a quad of the catalogue; return how many are listed then."""
    cell = ((_cell(code[0], 0.0, 1.0) * BINS + _cell(code[1], -0.5, 0.5)) * BINS + _cell(code[2], 0.0, 1.0)) * BINS
    cell += _cell(code[3], -0.5, 0.5)
    for at in range(start[cell], start[cell + 1]):
        q = entry[at]
        apart = 0.0
        for p in range(4):
            apart += (codes[q, p] - code[p]) ** 2
        if apart <= tolerance * tolerance and low <= size / sizes[q] <= high and found < row.size:
            row[found] = q
            stars[found, :] = four
            found += 1
    return found


@kernel
def _odds(
    poses: F64, x: F64, y: F64, own: I32, gx: F64, gy: F64, start: I64, shape: F64, sigma: float, density: float,
    distractors: float, used: I64, score: F64,
) -> None:  # fmt: skip
    x0, y0, cell, columns, rows = shape[0], shape[1], shape[2], int(shape[3]), int(shape[4])
    reach = 5.0 * sigma
    peak = (1.0 - distractors) / (2.0 * math.pi * sigma * sigma * density)
    unmatched = math.log(distractors)
    for m in range(poses.shape[0]):
        a, b, c, d, hand = poses[m, 0], poses[m, 1], poses[m, 2], poses[m, 3], poses[m, 4]
        total, best = 0.0, 0.0
        for s in range(x.size):
            if s == own[m, 0] or s == own[m, 1] or s == own[m, 2] or s == own[m, 3]:
                continue
            px, py = a * x[s] - hand * b * y[s] + c, b * x[s] + hand * a * y[s] + d
            nearest, at = reach * reach, -1
            i0, i1 = max(int((px - reach - x0) / cell), 0), min(int((px + reach - x0) / cell), columns - 1)
            j0, j1 = max(int((py - reach - y0) / cell), 0), min(int((py + reach - y0) / cell), rows - 1)
            for j in range(j0, j1 + 1):
                for i in range(i0, i1 + 1):
                    for k in range(start[j * columns + i], start[j * columns + i + 1]):
                        apart = (gx[k] - px) ** 2 + (gy[k] - py) ** 2
                        if apart < nearest and used[k] != m:
                            nearest, at = apart, k
            if at >= 0:
                used[at] = m
                total += math.log(distractors + peak * math.exp(-0.5 * nearest / (sigma * sigma)))
            else:
                total += unmatched
            best = max(best, total)
            if total < best - 25.0:
                break
        score[m] = best


def rehearse() -> None:
    """Compile the kernels of this module."""
    x, y = [0.0, 1.0, 0.4, 0.7, 0.2], [0.0, 0.1, 0.3, -0.2, 0.25]
    table = quad_table(x, y, smallest=0.1, tolerance=0.01)
    near = [[j for j in range(5) if j != i] for i in range(5)]
    row, _ = find_quads(table, x, y, near, (0.5, 2.0))
    poses = np.array([[1.0, 0.0, 0.0, 0.0, 1.0]])
    pose_odds(poses, x, y, table.stars[row[:1]], star_grid(x, y, 0.5), sigma=0.1, density=1.0)
