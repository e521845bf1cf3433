"""Stars of a crowded field fitted together: who belongs to whom, and the passes over the residual image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels import psf as kernels
from nightpipe.kernels.arrays import flags, float32, plain
from nightpipe.kernels.meshes import sums_near
from nightpipe.kernels.psf import MAX_GROUP, Grid
from nightpipe.maths.psfgrid import Sky

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Fitted:
    """Stars after the fit, in the order in which they were given; arrays (n,) but the image.

    `flux`, `x`, `y` with errors (inf where the pixels do not tell, 0 for positions that were held); `chi` is the root
    of the reduced chi-square; `wider`, `wider_error` [pixel^2] the excess of variance along an axis over the PSF's.
    `data` (ny, nx) is the image less the background that was found under the stars, `rest` (ny, nx) less them, too.
    """

    flux: FloatArray
    x: FloatArray
    y: FloatArray
    flux_error: FloatArray
    x_error: FloatArray
    y_error: FloatArray
    chi: FloatArray
    pixels: FloatArray
    wider: FloatArray
    wider_error: FloatArray
    rest: Image
    data: Image


def fit(
    sky: Sky,
    grid: Grid,
    stars: FloatArray,
    hold: Bools,
    *,
    reach: float | FloatArray,
    link: float,
    passes: int = 4,
    box: int = 0,
) -> Fitted:
    """Fit all `stars` (n, 3: flux, x, y) in `passes` over the image; `hold` (n,) fixes positions.

    Pixels within `reach` [pixel], one or (n,), of a star count; stars closer than `link` are solved together, all
    others are taken off as the last pass left them. Halfway the background is taken anew, in meshes of `box` pixels
    (0: not), from what the stars leave over: there it has no stars in it that could lift it.
    """
    order, bounds = grouped(stars, link)
    now, fixed = np.ascontiguousarray(stars[order]), flags(hold[order])
    start = now[:, 1:].copy()
    data, var, bad = float32(sky.data).copy(), float32(sky.var), flags(sky.bad)
    noise, reach = float(np.sqrt(np.median(var[::31, ::31]))), np.broadcast_to(reach, len(stars))[order]
    radius = drawn(grid, now, 0.1 * noise, reach)
    rest = data.copy()
    kernels.add(rest, grid, now, radius, -1.0)
    found = np.zeros((len(now), 6))
    for turn in range(passes):
        if box and turn == passes // 2:
            radius = drawn(grid, now, 0.015 * noise, reach)  # faint wings of many stars add up to a level
            np.copyto(rest, data)
            kernels.add(rest, grid, now, radius, -1.0)
            level = level_of(rest, var, sky.bad, box)
            data -= level
            rest -= level
        found = kernels.fit_pass(data, rest, var, bad, grid, now, fixed, bounds, radius, reach, sky.slope)
        _tether(now, start, fixed, rest, grid, radius, 0.6 * link)
    judged = kernels.judge(data, rest, var, bad, grid, now, reach, sky.slope)
    return _told(now, found, judged, order, rest, data)


def level_of(rest: Image, var: Image, bad: Bools, box: int) -> Image:
    """Return the smooth level (ny, nx) of an image without stars: clipped means of meshes of about `box` pixels.

    A mean, since a mode of photon counts lies below the level that adds to a star's light. The noise is known: pixels
    beyond three sigma of the median are left out. Meshes are averaged over 3 x 3, and joined linearly.
    """
    ny, nx = rest.shape
    rows, columns = max(ny // box, 1), max(nx // box, 1)
    edges = np.linspace(0, ny, rows + 1).astype(int), np.linspace(0, nx, columns + 1).astype(int)
    centre = float(np.median(rest[::7, ::7][~bad[::7, ::7]])) if not bad.all() else 0.0
    for _ in range(2):
        total, count = sums_near(rest, var, bad, *edges, centre)
        centre = float(total.sum() / max(count.sum(), 1.0))
    return _joined(_averaged(total, count, centre), edges)


def _averaged(total: FloatArray, count: FloatArray, centre: float) -> FloatArray:
    """Return the means of 3 x 3 meshes; a mesh with nothing in it leans on its neighbours, then on the global level."""
    from scipy.ndimage import uniform_filter

    number = uniform_filter(count, 3, mode="constant")
    return np.asarray((uniform_filter(total, 3, mode="constant") + 1e-3 * centre) / (number + 1e-3))


def _joined(mesh: FloatArray, edges: tuple[NDArray[np.int_], NDArray[np.int_]]) -> Image:
    """Return the image of all pixels between the centres of meshes, linear between them, constant beyond."""
    weights = []
    for edge in edges:
        middle = 0.5 * (edge[1:] + edge[:-1] - 1)
        pixel = np.arange(edge[-1])
        weights.append(np.stack([np.interp(pixel, middle, line) for line in np.eye(len(middle))], axis=1))
    return np.asarray((weights[0] @ mesh).astype(np.float32) @ weights[1].T.astype(np.float32))


def _tether(
    now: FloatArray, start: FloatArray, fixed: NDArray[np.uint8], rest: Image, grid: Grid, radius: FloatArray,
    most: float,
) -> None:  # fmt: skip
    """Bring stars that strayed farther than `most` [pixel] back to where they were detected, and hold them there."""
    lost = np.flatnonzero((np.hypot(*(now[:, 1:] - start).T) > most) | ~np.isfinite(now).all(axis=1))
    if not len(lost):
        return
    kernels.add(rest, grid, now[lost], radius[lost], 1.0)
    now[lost, 1:] = start[lost]
    now[lost, 0] = np.where(np.isfinite(now[lost, 0]), now[lost, 0], 0.0)
    fixed[lost] = 1
    kernels.add(rest, grid, now[lost], radius[lost], -1.0)


def drawn(grid: Grid, stars: FloatArray, least: float, reach: FloatArray) -> FloatArray:
    """Return how far out to draw each star [pixel]: to where it falls below `least` per pixel."""
    r = np.arange(0.0, grid.reach, 0.5)
    ny, nx = grid.facts[2:]
    profile = np.maximum.accumulate(np.abs(kernels.values(grid, nx / 2, ny / 2, r, 0 * r))[::-1])[::-1]
    faint = least / np.maximum(stars[:, 0], 1e-9)
    index = np.searchsorted(-profile, -faint)
    return np.asarray(np.clip(np.append(r, grid.reach)[index], np.minimum(1.2 * reach, grid.reach), grid.reach))


def grouped(stars: FloatArray, link: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order of the stars in which friends of friends within `link` [pixel] follow each other, and bounds.

    Groups larger than the kernel's largest are cut along their longer side.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    n = len(stars)
    pairs = cKDTree(stars[:, 1:]).query_pairs(link, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    _, first = np.unique(label, return_index=True)
    y, x = stars[first].T[[2, 1]]
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((x, y // 32))] = np.arange(len(first))  # neighbours in the sky, neighbours in memory
    order = np.lexsort((stars[:, 1], rank[label]))
    ends = np.append(np.flatnonzero(np.diff(label[order])) + 1, n)
    bounds = [0]
    for end in ends:
        size = end - bounds[-1]
        parts = -(-size // MAX_GROUP)
        bounds.extend(bounds[-1] + np.round(np.arange(1, parts + 1) * size / parts).astype(int))
    return order.astype(np.int64), plain(bounds, np.int64)


def _told(
    now: FloatArray, found: FloatArray, judged: FloatArray, order: NDArray[np.int64], rest: Image, data: Image
) -> Fitted:
    back = np.argsort(order)
    now, found, judged = now[back], found[back], judged[back]
    error = np.sqrt(np.where(found[:, :3] > 0, found[:, :3], 0.0))
    error[:, 0] = np.where(found[:, 0] > 0, error[:, 0], np.inf)
    chi = np.sqrt(judged[:, 0] / np.maximum(judged[:, 1] - 3, 1))
    return Fitted(
        now[:, 0], now[:, 1], now[:, 2], error[:, 0], error[:, 1], error[:, 2], chi, judged[:, 1], 2 * judged[:, 2],
        2 * judged[:, 3], rest, data,
    )  # fmt: skip
