"""Where on a plane of catalogue stars an image lies: quads found by their shape, poses judged by the odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.asterisms import QuadTable, find_quads, pose_odds, quad_table, star_grid
from nightpipe.maths.starlists import cells, neighbours, rounds

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Depth:
    """How far a search goes: stars of the image, stars of the catalogue in a ninth of a field, neighbours of each.

    The `skip` brightest of a ninth of a field are left out, where the image has `least` stars: they may be saturated.
    """

    image: int
    catalogue: int
    neighbours: int
    tolerance: float
    skip: int = 0
    least: int = 4


DEPTHS = (Depth(22, 3, 7, 0.010), Depth(30, 5, 8, 0.010), Depth(30, 5, 8, 0.010, skip=4, least=300))
JUDGES = 60
"""Stars of the image that judge a pose."""
REFERENCES = 14
"""Catalogue stars in a ninth of a field that a pose is judged by."""


@dataclass(frozen=True)
class Poses:
    """Poses (m, 5) as `pose_odds` knows them, best first, with their log odds (m,), of `tried` in all."""

    pose: FloatArray
    odds: FloatArray
    tried: int


@dataclass(frozen=True)
class Picture:
    """An image's stars (n,) [pixel] as `rounds` ordered them, with the width [pixel] of a square of the same area."""

    x: FloatArray
    y: FloatArray
    side: float


@dataclass(frozen=True)
class Plane:
    """Catalogue stars (n,) of a plane [deg], with their faintness (any scale)."""

    x: FloatArray
    y: FloatArray
    faintness: FloatArray


def quads_of(picture: Picture, depth: Depth, parity: int = 0) -> QuadTable:
    """Return the quads of the picture's first stars, of both hands where `parity` is 0."""
    x, y = picture.x[: depth.image], picture.y[: depth.image]
    return quad_table(x, y, smallest=0.12 * picture.side, tolerance=depth.tolerance, parity=parity)


def poses(
    picture: Picture, table: QuadTable, plane: Plane, scale: float, spread: float, *, depth: Depth, most: int = 12
) -> Poses:
    """Return where in the `plane` a picture with the quads `table` may lie, for a `scale` [deg/pixel] +- `spread`.

    `spread` is a fraction. The density of both lists is that of the image's brightest stars, whatever the catalogue's:
    quads then are of a size that fits the field. Poses that are the same twice are given once.
    """
    field = picture.side * scale
    plane = _brightest(plane, field)
    order, turn = rounds(plane.x, plane.y, plane.faintness, field / 3)
    few = order[(turn >= depth.skip) & (turn < depth.skip + depth.catalogue)]
    many = order[turn < REFERENCES]
    if few.size < 4:
        return Poses(np.zeros((0, 5)), np.zeros(0), 0)
    x, y = picture.x, picture.y
    cx, cy = plane.x[few], plane.y[few]
    ratio = (scale / (1 + spread), scale * (1 + spread))
    row, stars = find_quads(table, cx, cy, neighbours(cx, cy, depth.neighbours), ratio)
    pose = similarities(x[table.stars[row]], y[table.stars[row]], cx[stars], cy[stars], table.parity[row])
    odds = _judged(pose, picture, plane, many, table.stars[row], field)
    return _distinct(pose, odds, picture, field, most)


def _brightest(plane: Plane, field: float) -> Plane:
    """Return the stars that may be among the first of their cells: a few times as many as there is room for."""
    if not plane.x.size:
        return plane
    cells = (np.ptp(plane.x) / (field / 3) + 1) * (np.ptp(plane.y) / (field / 3) + 1)
    most = int(4 * REFERENCES * cells) + 100
    if plane.x.size <= most:
        return plane
    keep = np.argpartition(plane.faintness, most)[:most]
    return Plane(plane.x[keep], plane.y[keep], plane.faintness[keep])


def similarities(
    x: FloatArray, y: FloatArray, to_x: FloatArray, to_y: FloatArray, hand: NDArray[np.int32]
) -> FloatArray:
    """Return the poses (m, 5) that bring points (m, k) of an image nearest to points of the plane, hands (m,) given."""
    here, there = x + 1j * hand[:, None] * y, to_x + 1j * to_y
    mean, goal = here.mean(axis=1), there.mean(axis=1)
    away = here - mean[:, None]
    turn = np.sum(np.conj(away) * (there - goal[:, None]), axis=1) / np.sum(np.abs(away) ** 2, axis=1)
    rest = goal - turn * mean
    return np.column_stack((turn.real, turn.imag, rest.real, rest.imag, hand.astype(np.float64)))


def placed(pose: FloatArray, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return where poses (m, 5) put points (n,) of the image: two arrays (m, n)."""
    a, b, c, d, hand = (pose[:, k : k + 1] for k in range(5))
    return a * x - hand * b * y + c, b * x + hand * a * y + d


def _judged(
    pose: FloatArray, picture: Picture, plane: Plane, many: NDArray[np.int64], own: NDArray[np.int32], field: float
) -> FloatArray:
    grid = star_grid(plane.x[many], plane.y[many], field / 30)
    # stars over the area they cover: a catalogue of a few fields far apart is dense where it has stars
    filled = np.unique(cells(plane.x[many], plane.y[many], field / 3)).size
    density = many.size / (filled * (field / 3) ** 2)
    x, y = picture.x[:JUDGES], picture.y[:JUDGES]
    return pose_odds(pose, x, y, own, grid, sigma=0.0035 * field, density=density)


def _distinct(pose: FloatArray, odds: FloatArray, picture: Picture, field: float, most: int) -> Poses:
    """Return the best poses, those that put the picture where a better one does left out."""
    order = np.argsort(-odds, kind="stable")[:400]
    half = picture.side / 2
    corner = np.array([0.0, 2 * half])
    x, y = placed(pose[order], corner, corner)
    kept: list[int] = []
    for k in range(order.size):
        near = [j for j in kept if np.hypot(x[k] - x[j], y[k] - y[j]).max() < 0.02 * field]
        if not near:
            kept.append(k)
        if len(kept) == most:
            break
    chosen = order[kept]
    return Poses(pose[chosen], odds[chosen], int(odds.size))
