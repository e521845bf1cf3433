"""Position, size and shape of stars by moments under a Gaussian window that adapts to each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F32, F64, U8, flags, float32, float64, same_shape
from nightpipe.kernels.build import helper, kernel

ROUNDS = 20
REACH = 3.5
"""Where the window ends, in its own sigma."""
WIDEST = 25
"""Half width [pixel] of the largest window."""


@dataclass(frozen=True)
class Moments:
    """What the windows say of n sources, each (n,) float64 but `ok`.

    `x`, `y` are zero-based; `xx`, `xy`, `yy` [pixel^2] are the second moments of the Gaussian that fits best, and
    `size_error` the error of ``xx + yy``. Where `ok` is False the window ran away: position and moments are as given.
    """

    x: F64
    y: F64
    x_error: F64
    y_error: F64
    xx: F64
    xy: F64
    yy: F64
    size_error: F64
    ok: NDArray[np.bool_]


def adaptive(
    data: ArrayLike, var: ArrayLike, bad: ArrayLike, x: ArrayLike, y: ArrayLike, sigma: float, *, slope: float = 0.0
) -> Moments:
    """Return the adaptive moments of sources at `x`, `y` (n,) in `data` (ny, nx), its background removed.

    `var` (ny, nx) is the variance of the background, to which light adds `slope` times itself. A bad pixel takes the
    value of its mirror image about the centre, and counts nothing where that is bad too. `sigma` [pixel] is the first
    guess of the size. The window is Gaussian and matched to the source (Bernstein & Jarvis 2002, AJ 123, 583); errors
    propagate the pixels' noise through the sums (as ERRX2WIN of SExtractor does, here for any window).
    """
    image, noise, wrong = float32(data), float32(var), flags(bad)
    same_shape("data, variance and mask", image, noise, wrong)
    start = np.column_stack([float64(x), float64(y)])
    out = np.empty((len(start), 9))
    _adaptive(image, noise, wrong, float64(start), float(sigma), float(slope), out)
    px, py, ex, ey, xx, xy, yy, size, ok = (column.copy() for column in out.T)
    return Moments(px, py, ex, ey, xx, xy, yy, size, ok > 0)


@helper
def _sums(image: F32, var: F32, bad: U8, x: float, y: float, shape: F64, slope: float, sums: F64) -> None:
    """Fill `sums`: weight, x, y, xx, xy, yy, then the variances of x, y and xx + yy; `shape` is the window's."""
    ny, nx = image.shape
    cxx, cxy, cyy = shape
    det = cxx * cyy - cxy * cxy
    ixx, ixy, iyy = cyy / det, -cxy / det, cxx / det
    wide = min(int(REACH * math.sqrt(cxx)) + 1, WIDEST)
    high = min(int(REACH * math.sqrt(cyy)) + 1, WIDEST)
    cx, cy = round(x), round(y)
    sums[:] = 0.0
    size = 0.5 * (cxx + cyy)
    for j in range(max(cy - high, 0), min(cy + high + 1, ny)):
        for i in range(max(cx - wide, 0), min(cx + wide + 1, nx)):
            dx, dy = i - x, j - y
            r2 = ixx * dx * dx + 2 * ixy * dx * dy + iyy * dy * dy
            if r2 > REACH * REACH:
                continue
            value, noise = image[j, i], var[j, i]
            if bad[j, i]:
                k, m = round(2 * x - i), round(2 * y - j)
                if k < 0 or m < 0 or k >= nx or m >= ny or bad[m, k]:
                    continue
                value = image[m, k]
            w = math.exp(-0.5 * r2)
            light = w * value
            sums[0] += light
            sums[1] += light * dx
            sums[2] += light * dy
            sums[3] += light * dx * dx
            sums[4] += light * dx * dy
            sums[5] += light * dy * dy
            noise = w * w * (noise + slope * max(value, 0.0))
            sums[6] += noise * dx * dx
            sums[7] += noise * dy * dy
            sums[8] += noise * (dx * dx + dy * dy - size) ** 2


@helper
def _rematch(sums: F64, shape: F64, most: float) -> float:
    """Set `shape` to the source's own covariance; return by how much it changed, -1 where there is none.

    The window times a Gaussian source has the sum of their inverse covariances: the window's is taken away.
    """
    mxx, mxy, myy = sums[3] / sums[0], sums[4] / sums[0], sums[5] / sums[0]
    det, old = mxx * myy - mxy * mxy, shape[0] * shape[2] - shape[1] * shape[1]
    if det <= 0.0 or mxx <= 0.0 or shape[0] + shape[2] > most:
        return -1.0
    ixx, ixy, iyy = myy / det - shape[2] / old, -mxy / det + shape[1] / old, mxx / det - shape[0] / old
    inverse = ixx * iyy - ixy * ixy
    if inverse <= 0.0 or ixx <= 0.0:  # wider than any window of this size can tell
        shape *= 1.5
        return math.inf
    nxx, nxy, nyy = iyy / inverse, -ixy / inverse, ixx / inverse
    if nxx + nyy > most or nxx < 0.05 or nyy < 0.05:
        return -1.0
    change = abs(nxx - shape[0]) + abs(nyy - shape[2]) + abs(nxy - shape[1])
    shape[0], shape[1], shape[2] = nxx, nxy, nyy
    return change / (nxx + nyy)


@helper
def _settle(image: F32, var: F32, bad: U8, place: F64, shape: F64, sigma: float, slope: float, sums: F64) -> bool:
    """Move `place` and `shape` to where window and source agree; return whether they do."""
    x0, y0 = place
    for turn in range(ROUNDS):
        _sums(image, var, bad, place[0], place[1], shape, slope, sums)
        if sums[0] <= 0.0:
            return False
        dx, dy = 2.0 * sums[1] / sums[0], 2.0 * sums[2] / sums[0]
        place[0] += dx
        place[1] += dy
        change = _rematch(sums, shape, 800.0 * sigma * sigma)
        # a window that leaves is on its way to a neighbour, or to the middle of a pair
        if change < 0.0 or (place[0] - x0) ** 2 + (place[1] - y0) ** 2 > sigma * sigma + 0.25:
            return False
        if turn > 1 and abs(dx) + abs(dy) < 1e-4 and change < 1e-3:
            return True
    return change < 0.1


@kernel
def _adaptive(image: F32, var: F32, bad: U8, start: F64, sigma: float, slope: float, out: F64) -> None:
    sums, shape, place = np.empty(9), np.empty(3), np.empty(2)
    for n in range(len(start)):
        place[:] = start[n]
        shape[0], shape[1], shape[2] = sigma * sigma, 0.0, sigma * sigma
        if _settle(image, var, bad, place, shape, sigma, slope, sums):
            # the slope of the centring equation is S (1 - M/W) = S/2 where the window matches
            out[n, :2], out[n, 4:7] = place, shape
            out[n, 2], out[n, 3] = 2.0 * math.sqrt(sums[6]) / sums[0], 2.0 * math.sqrt(sums[7]) / sums[0]
            out[n, 7], out[n, 8] = 4.0 * math.sqrt(sums[8]) / sums[0], 1.0
        else:
            out[n, :2], out[n, 2:4] = start[n], sigma
            out[n, 4], out[n, 5], out[n, 6] = sigma * sigma, 0.0, sigma * sigma
            out[n, 7], out[n, 8] = math.inf, 0.0


def rehearse() -> None:
    """Compile the kernels of this module."""
    y, x = np.mgrid[:9, :9]
    adaptive(np.exp(-0.25 * ((x - 4) ** 2 + (y - 4) ** 2)), np.ones((9, 9)), np.zeros((9, 9)), [4.0], [4.0], 1.4)


def adaptive_plain(data: F64, x: float, y: float, sigma: float, rounds: int = 60) -> tuple[float, float, F64]:
    """Return position and covariance (2, 2) of one source without noise or bad pixels: the oracle of `adaptive`."""
    jj, ii = np.mgrid[: data.shape[0], : data.shape[1]]
    shape = np.eye(2) * sigma**2
    for _ in range(rounds):
        d = np.stack([ii - x, jj - y])
        r2 = np.einsum("aij,ab,bij->ij", d, np.linalg.inv(shape), d)
        light = np.where(r2 > REACH**2, 0.0, np.exp(-0.5 * r2)) * data
        centre = np.einsum("aij,ij->a", d, light) / light.sum()
        moment = np.einsum("aij,bij,ij->ab", d, d, light) / light.sum()
        shape = np.linalg.inv(np.linalg.inv(moment) - np.linalg.inv(shape))
        x, y = x + 2 * centre[0], y + 2 * centre[1]
    return x, y, shape
