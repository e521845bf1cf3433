"""Lists of stars on a plane: thinned evenly, paired with another list, shifted onto it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Ints = NDArray[np.int64]


def rounds(x: FloatArray, y: FloatArray, faintness: FloatArray, cell: float) -> tuple[Ints, Ints]:
    """Return an order of the stars (n,) that covers the plane evenly, and each star's round in that order.

    The brightest star of every cell `cell` wide comes first (round 0), then the second of every cell ...: neither a
    cluster nor the knots of a galaxy can then fill the list.
    """
    order = np.argsort(faintness, kind="stable")
    index = cells(x[order], y[order], cell)
    within = np.argsort(index, kind="stable")
    first = np.searchsorted(index[within], index[within])
    turn = np.empty(order.size, np.int64)
    turn[within] = np.arange(order.size) - first
    final = np.argsort(turn, kind="stable")
    return order[final], turn[final]


def cells(x: FloatArray, y: FloatArray, cell: float) -> Ints:
    """Return the number of the square cell, `cell` wide, in which each of the places (n,) lies."""
    if not x.size:
        return np.zeros(0, np.int64)
    column, row = (np.floor(v / cell).astype(np.int64) for v in (x, y))
    return np.asarray((column - column.min()) * (np.ptp(row) + 1) + row)


def neighbours(x: FloatArray, y: FloatArray, count: int) -> NDArray[np.int32]:
    """Return the `count` nearest other stars of each star (n,): (n, count), -1 where there are fewer."""
    from scipy.spatial import cKDTree

    if x.size < 2:
        return np.full((x.size, count), -1, np.int32)
    points = np.column_stack((x, y))
    _, near = cKDTree(points).query(points, k=count + 1)
    near = np.where(near == x.size, -1, near)  # the tree's own sign for none
    own = near == np.arange(x.size)[:, None]
    own[~own.any(axis=1), -1] = True  # of stars at one place another may come first
    return near[~own].reshape(x.size, count).astype(np.int32)


def mutual(x: FloatArray, y: FloatArray, other_x: FloatArray, other_y: FloatArray, radius: float) -> tuple[Ints, Ints]:
    """Return the pairs (i, j) of stars that are each other's nearest, no farther apart than `radius`."""
    from scipy.spatial import cKDTree

    if not x.size or not other_x.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    here, there = np.column_stack((x, y)), np.column_stack((other_x, other_y))
    apart, j = (np.asarray(part) for part in cKDTree(there).query(here, distance_upper_bound=radius))
    i = np.flatnonzero(np.isfinite(apart))
    by = np.lexsort((apart[i], j[i]))
    i = i[by]
    first = np.ones(i.size, np.bool_)
    first[1:] = np.diff(j[i]) != 0
    return i[first], j[i[first]].astype(np.int64)


class Shift(NamedTuple):
    """A shift (x, y) that `votes` pairs agree on where `expected` would by chance."""

    x: float
    y: float
    votes: int
    expected: float


def shifts(
    x: FloatArray,
    y: FloatArray,
    other_x: FloatArray,
    other_y: FloatArray,
    radius: float,
    tolerance: float,
    most: int = 5,
) -> tuple[Shift, ...]:
    """Return the shifts that bring most stars onto stars of another list, best first, none longer than `radius`.

    Every pair of stars votes for its difference; votes are counted in overlapping boxes 2 `tolerance` wide, a peak is
    the mean of its votes, and a box inside that of a better shift is not counted again.
    """
    dx = (other_x[None, :] - x[:, None]).ravel()
    dy = (other_y[None, :] - y[:, None]).ravel()
    inside = np.hypot(dx, dy) <= radius + tolerance
    dx, dy = dx[inside], dy[inside]
    if not dx.size:
        return ()
    expected = dx.size * (2 * tolerance) ** 2 / (np.pi * (radius + tolerance) ** 2)
    return tuple(_peaks(dx, dy, tolerance, most, expected))


def _peaks(dx: FloatArray, dy: FloatArray, tolerance: float, most: int, expected: float) -> list[Shift]:
    found: list[Shift] = []
    free = np.ones(dx.size, np.bool_)
    while free.any() and len(found) < most:
        vote_x, vote_y = _fullest(dx[free], dy[free], tolerance)
        near = free & (np.abs(dx - vote_x) <= tolerance) & (np.abs(dy - vote_y) <= tolerance)
        if not near.any():
            break
        found.append(Shift(float(np.median(dx[near])), float(np.median(dy[near])), int(near.sum()), float(expected)))
        free &= (np.abs(dx - vote_x) > 2 * tolerance) | (np.abs(dy - vote_y) > 2 * tolerance)
    return found


def _fullest(dx: FloatArray, dy: FloatArray, tolerance: float) -> tuple[float, float]:
    """Return the middle of the fullest box of two by two cells of `tolerance`."""
    column, row = (np.floor(v / tolerance).astype(np.int64) for v in (dx, dy))
    low_c, low_r, wide = column.min() - 1, row.min() - 1, int(np.ptp(row)) + 3
    key = (column - low_c) * wide + (row - low_r)
    boxes = np.concatenate([key, key - 1, key - wide, key - wide - 1])
    box, count = np.unique(boxes, return_counts=True)
    best = int(box[np.argmax(count)])
    return (best // wide + low_c + 1) * tolerance, (best % wide + low_r + 1) * tolerance
