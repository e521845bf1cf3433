"""Images of point sources and galaxies added to a frame: what a simulator draws, and what a test injects."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F32, F64, float32, float64
from nightpipe.kernels.build import helper, kernel

_INNER = 4  # subdivisions of a pixel near a galaxy's cusp


def add_points(
    image: F32,
    x: ArrayLike,
    y: ArrayLike,
    flux: ArrayLike,
    nodes: ArrayLike,
    oversampling: int,
    reach: ArrayLike,
    wing: float,
) -> None:
    """Add point sources to `image` (ny, nx) in place.

    `x`, `y`, `flux`, `reach` (n,): zero-based position [pixel], total flux, and how far [pixel] each is drawn. `nodes`
    (ky, kx, m, m), m odd, are PSFs at evenly spaced places of the image, from corner to corner: integrated over
    pixels, sampled `oversampling` times a pixel, centred, as fractions of the flux in one pixel; between the nodes they
    are mixed linearly. Beyond the table the light goes on as ``r**-wing``.
    """
    places = (float64(x), float64(y), float64(flux), float64(reach))
    _points(image, *places, float32(nodes), oversampling, wing)


def add_points_plain(
    image: F32,
    x: ArrayLike,
    y: ArrayLike,
    flux: ArrayLike,
    nodes: ArrayLike,
    oversampling: int,
    reach: ArrayLike,
) -> None:
    """Do as `add_points` within the table, in plain numpy: its oracle."""
    from scipy.ndimage import map_coordinates

    table, (ny, nx) = np.asarray(nodes, float), image.shape
    half = table.shape[2] // 2
    for px, py, light, far in zip(*(np.atleast_1d(value) for value in (x, y, flux, reach)), strict=True):
        psf = np.zeros(table.shape[2:])
        ky, kx = (
            np.clip(place / (size - 1), 0, 1) * (count - 1)
            for place, size, count in ((py, ny, table.shape[0]), (px, nx, table.shape[1]))
        )
        for j in range(table.shape[0]):
            for i in range(table.shape[1]):
                psf += max(0.0, 1 - abs(ky - j)) * max(0.0, 1 - abs(kx - i)) * table[j, i]
        rows, columns = np.mgrid[0:ny, 0:nx]
        v, u = (rows - py) * oversampling + half, (columns - px) * oversampling + half
        inside = (np.abs(rows - py) <= far) & (np.abs(columns - px) <= far)
        inside &= (np.abs(v - half) < half - 2) & (np.abs(u - half) < half - 2)
        image[inside] += (light * map_coordinates(psf, [v[inside], u[inside]], order=3)).astype(np.float32)


@helper
def _cubic(t: float, w: F64) -> None:
    w[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    w[1] = (1.5 * t - 2.5) * t * t + 1.0
    w[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    w[3] = (0.5 * t - 0.5) * t * t


@helper
def _place(value: float, size: int, count: int) -> tuple[int, float]:
    spot = min(max(value / max(size - 1, 1), 0.0), 1.0) * (count - 1)
    node = min(int(spot), max(count - 2, 0))
    return node, spot - node


@kernel
def _points(
    image: F32, x: F64, y: F64, flux: F64, reach: F64, nodes: F32, oversampling: int, wing: float
) -> None:  # pragma: no cover
    ny, nx = image.shape
    ky, kx, m, _ = nodes.shape
    half = m // 2
    inner = (half - 2) / oversampling
    wx, wy = np.empty(4), np.empty(4)
    for s in range(x.size):
        far = reach[s]
        x0, x1 = max(int(np.ceil(x[s] - far)), 0), min(int(np.floor(x[s] + far)), nx - 1)
        y0, y1 = max(int(np.ceil(y[s] - far)), 0), min(int(np.floor(y[s] + far)), ny - 1)
        if x1 < x0 or y1 < y0:
            continue
        j, fy = _place(y[s], ny, ky)
        i, fx = _place(x[s], nx, kx)
        j1, i1 = min(j + 1, ky - 1), min(i + 1, kx - 1)
        a, b, c, d = (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx
        u, v = (x0 - x[s]) * oversampling + half, (y0 - y[s]) * oversampling + half
        u0, v0 = int(np.floor(u)), int(np.floor(v))
        _cubic(u - u0, wx)
        _cubic(v - v0, wy)
        edge, shape = 0.0, 0.0
        for q in range(0, m, max(m // 16, 1)):  # the mean level at the table's edge carries the wing on
            edge += a * nodes[j, i, 2, q] + b * nodes[j, i1, 2, q] + c * nodes[j1, i, 2, q] + d * nodes[j1, i1, 2, q]
            shape += (np.hypot(float(half - 2), float(q - half)) / (half - 2)) ** -wing
        edge /= shape
        for row in range(y0, y1 + 1):
            tv = v0 + (row - y0) * oversampling
            dy = abs(row - y[s])
            for column in range(x0, x1 + 1):
                tu = u0 + (column - x0) * oversampling
                dx = abs(column - x[s])
                if dx < inner - 1 and dy < inner - 1:
                    total = 0.0
                    for p in range(4):
                        line = 0.0
                        for q in range(4):
                            vv, uu = tv - 1 + p, tu - 1 + q
                            mixed = a * nodes[j, i, vv, uu] + b * nodes[j, i1, vv, uu]
                            mixed += c * nodes[j1, i, vv, uu] + d * nodes[j1, i1, vv, uu]
                            line += wx[q] * mixed
                        total += wy[p] * line
                    image[row, column] += flux[s] * total
                else:
                    image[row, column] += flux[s] * edge * (np.hypot(dx, dy) / inner) ** -wing


def add_galaxies(
    image: F32,
    x: ArrayLike,
    y: ArrayLike,
    flux: ArrayLike,
    radius: ArrayLike,
    index: ArrayLike,
    axis_ratio: ArrayLike,
    angle: ArrayLike,
) -> None:
    """Add Sersic galaxies, without any blur, to `image` (ny, nx) in place; all else (n,).

    `flux` is the total, `radius` the half-light radius along the major axis [pixel], `index` Sersic's n (0.5 to 4),
    `angle` [radian] that of the major axis from +x. Drawn to 8 radii, and what lies beyond is put within. Ciotti &
    Bertin 1999 (A&A 352, 447, eq. 18) for b(n).
    """
    shape = [float64(value) for value in (x, y, flux, radius, index, axis_ratio, angle)]
    _galaxies(image, *shape)


@kernel
def _galaxies(
    image: F32, x: F64, y: F64, flux: F64, radius: F64, index: F64, axis_ratio: F64, angle: F64
) -> None:  # pragma: no cover
    ny, nx = image.shape
    for s in range(x.size):
        n, re, ratio = index[s], max(radius[s], 0.15), axis_ratio[s]
        b = 2.0 * n - 1.0 / 3.0 + 0.009876 / n
        far = int(min(8.0 * re, 400.0)) + 2
        cx, cy = int(np.round(x[s])), int(np.round(y[s]))
        size = 2 * far + 1
        stamp = np.zeros((size, size))
        cosine, sine = np.cos(angle[s]), np.sin(angle[s])
        total = 0.0
        for row in range(size):
            for column in range(size):
                dx, dy = cx + column - far - x[s], cy + row - far - y[s]
                near = dx * dx + dy * dy < max(4.0 * re * re, 9.0)
                parts = _INNER * (3 if abs(dx) < 1.5 and abs(dy) < 1.5 else 1) if near else 1
                light = 0.0
                for p in range(parts):
                    for q in range(parts):
                        ex = dx + (p + 0.5) / parts - 0.5
                        ey = dy + (q + 0.5) / parts - 0.5
                        along, across = ex * cosine + ey * sine, (ey * cosine - ex * sine) / ratio
                        r = np.sqrt(along * along + across * across) / re
                        if r < 8.0:
                            light += np.exp(-b * (r ** (1.0 / n) - 1.0))
                stamp[row, column] = light / (parts * parts)
                total += stamp[row, column]
        for row in range(size):
            for column in range(size):
                yy, xx = cy + row - far, cx + column - far
                if 0 <= yy < ny and 0 <= xx < nx:
                    image[yy, xx] += flux[s] * stamp[row, column] / total


def rehearse() -> None:
    """Call every kernel on a few pixels, so that it is compiled."""
    image = np.zeros((9, 9), dtype=np.float32)
    add_points(image, [4.0], [4.0], [1.0], np.ones((2, 2, 33, 33)) / 1089, 2, [6.0], 3.0)
    add_galaxies(image, [4.0], [4.0], [1.0], [1.0], [1.0], [0.7], [0.3])
