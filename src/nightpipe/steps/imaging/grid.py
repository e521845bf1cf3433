"""The grid of the sky on which images are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.maths.tan import plane_of_sky, sky_of_plane
from nightpipe.maths.warpmap import Map
from nightpipe.model.wcs import Wcs

FloatArray = NDArray[np.float64]
LARGEST = 20_000
"""No side of a stack is longer [pixel]: frames that are this far apart are not of one field."""


class Grid(NamedTuple):
    """A tangent plane without distortion, `wcs`, and its `shape` (ny, nx)."""

    wcs: Wcs
    shape: tuple[int, int]


def common_grid(
    wcss: Sequence[Wcs],
    shapes: Sequence[tuple[int, int]],
    *,
    scale: float = 0.0,
    extent: str = "union",
    turned: bool = False,
) -> Grid:
    """Return a grid of pixels of `scale` [arcsec] (0: the frames' median) that holds all frames.

    `extent` ``"union"`` holds every pixel, ``"common"`` what all frames see, ``"first"`` what the first one sees.
    North is up and east left, or as the first frame has it where `turned`. Raises BadFrameError where the frames lie
    too far apart, or have nothing in common.
    """
    centre = _centre(wcss, shapes)
    size = scale or float(np.median([wcs.scale for wcs in wcss]))
    cd = _matrix(wcss[0], size, turned=turned)
    inverse: FloatArray = np.linalg.inv(cd).astype(np.float64)
    boxes = np.array([_box(wcs, shape, centre, inverse) for wcs, shape in zip(wcss, shapes, strict=True)])
    if extent == "common":
        low, high = boxes[:, 0].max(axis=0), boxes[:, 1].min(axis=0)
    else:
        boxes = boxes[:1] if extent == "first" else boxes
        low, high = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
    nx, ny = (int(n) for n in np.ceil(high) - np.floor(low) + 1)
    if not (0 < nx <= LARGEST and 0 < ny <= LARGEST):
        raise BadFrameError("frames of one field", f"a stack of {nx} x {ny} pixels", "stack the fields one by one")
    matrix = ((float(cd[0, 0]), float(cd[0, 1])), (float(cd[1, 0]), float(cd[1, 1])))
    return Grid(Wcs(centre, (float(-np.floor(low[0])), float(-np.floor(low[1]))), matrix), (ny, nx))


def mapping(grid: Wcs, image: Wcs) -> Map:
    """Return the map of pixels of `grid` to pixels of `image`."""

    def forward(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return image.to_pixel(*grid.to_sky(x, y))

    return forward


def _centre(wcss: Sequence[Wcs], shapes: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Return the mean direction of the frames' centres, by way of the first one's tangent plane."""
    middles = [wcs.to_sky((nx - 1) / 2, (ny - 1) / 2) for wcs, (ny, nx) in zip(wcss, shapes, strict=True)]
    start = (float(middles[0][0]), float(middles[0][1]))
    plane = np.array([plane_of_sky(ra, dec, start) for ra, dec in middles])
    if not np.isfinite(plane).all():
        raise BadFrameError("frames of one field", "frames on opposite sides of the sky", "look at their solutions")
    xi, eta = plane.mean(axis=0)
    ra, dec = sky_of_plane(xi, eta, start)
    return float(ra), float(dec)


def _matrix(first: Wcs, scale: float, *, turned: bool) -> FloatArray:
    if not turned:
        return np.diag([-scale / 3600.0, scale / 3600.0])
    return np.asarray(np.array(first.cd) * (scale / first.scale), np.float64)


def _box(wcs: Wcs, shape: tuple[int, int], centre: tuple[float, float], inverse: FloatArray) -> FloatArray:
    """Return ((x low, y low), (x high, y high)) of a frame's border on the grid, from the grid's centre."""
    ny, nx = shape
    t = np.linspace(0, 1, 17)
    x = np.concatenate([t, t, 0 * t, 0 * t + 1]) * (nx - 1)
    y = np.concatenate([0 * t, 0 * t + 1, t, t]) * (ny - 1)
    places = inverse @ np.array(plane_of_sky(*wcs.to_sky(x, y), centre))
    return np.array([places.min(axis=1), places.max(axis=1)])
