"""Empty places around a source, and what a measurement finds there: the noise as it is, not as it is stated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.psf import Grid, values
from nightpipe.maths.robust import clipped_stats

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]
Bools = NDArray[np.bool_]


def vacancies(closed: Bools, x: float, y: float, reach: float, most: int) -> tuple[FloatArray, FloatArray]:
    """Return up to `most` places (x, y) around a source with no `closed` pixel within `reach`, the nearest first.

    They lie a whole number of pixels from the source, so its own weights serve. Discs do not overlap, unless the sky
    has too little room: then they do by half, and by three quarters.
    """
    from scipy.ndimage import distance_transform_edt

    ny, nx = closed.shape
    room = np.asarray(distance_transform_edt(np.pad(~closed, 1)))[1:-1, 1:-1] > reach + 1
    cx, cy = round(x), round(y)
    jj, ii = np.mgrid[:ny, :nx]
    room &= np.hypot(ii - cx, jj - cy) > 2 * reach + 1
    rows, columns = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for share in (2.0, 1.0, 0.5):
        step = max(int(np.ceil(share * reach)), 1)
        rows, columns = np.nonzero(room & ((ii - cx) % step == 0) & ((jj - cy) % step == 0))
        if len(rows) >= most // 4:
            break
    order = np.argsort(np.hypot(columns - cx, rows - cy), kind="stable")[:most]
    return np.asarray(columns[order] - cx + x, np.float64), np.asarray(rows[order] - cy + y, np.float64)


def through(
    grid: Grid, data: Image, var: Image, x: FloatArray, y: FloatArray, reach: float
) -> tuple[FloatArray, FloatArray]:
    """Return the fluxes (n,) of point sources at fixed places, and their variances.

    ``sum(p d / v) / sum(p p / v)`` over pixels within `reach`; all places share the first one's fraction of a pixel,
    and their pixels must be good.
    """
    cx, cy = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    half = int(reach) + 1
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    inside = np.hypot(dx - (x[0] - cx[0]), dy - (y[0] - cy[0])) <= reach
    dx, dy = dx[inside], dy[inside]
    shape = values(grid, float(x[0]), float(y[0]), dx - (x[0] - cx[0]), dy - (y[0] - cy[0]))
    rows, columns = cy[:, None] + dy, cx[:, None] + dx
    weight = shape / var[rows, columns].astype(np.float64)
    norm = weight @ shape
    flux = np.sum(weight * data[rows, columns], axis=1) / norm
    return np.asarray(flux), np.asarray(1 / norm)


def scatter_of(values: FloatArray, least: int = 20) -> tuple[float, float, int]:
    """Return level, scatter and number of measurements at empty places, outliers beyond 3 sigma out; nan: too few."""
    if len(values) < least:
        return 0.0, float("nan"), len(values)
    return clipped_stats(values, 3.0)
