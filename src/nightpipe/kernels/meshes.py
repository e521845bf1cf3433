"""Levels of the sky in the meshes of an image: clipped means, outliers told by median and scatter or by known noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F32, F64, I64, U8, flags, float32, plain, same_shape
from nightpipe.kernels.build import helper, kernel

MAD_TO_SIGMA = 1.482602218505602
ROUNDS = 8


def clipped_levels(
    data: ArrayLike, bad: ArrayLike, box: int, *, clip: float, truncation: float, thin: int = 1, least: int = 32
) -> F64:
    """Return the clipped mean of the good pixels of each mesh of `box` pixels of `data` (ny, nx), (rows, columns).

    `clip` counts standard deviations, `truncation` is that of a unit normal distribution cut there. Every `thin`-th
    good pixel of a mesh counts, in the order of rows. Meshes with fewer than `least` good pixels are nan; those at the
    upper edges may be smaller than the others.
    """
    image, wrong = float32(data), flags(bad)
    same_shape("data and mask", image, wrong)
    ny, nx = image.shape
    out = np.full((-(-ny // box), -(-nx // box)), np.nan)
    _levels(image, wrong, box, float(clip), float(truncation), thin, least, out)
    return out


def sums_near(
    data: ArrayLike, var: ArrayLike, bad: ArrayLike, rows: ArrayLike, columns: ArrayLike, centre: float,
    clip: float = 3.0,
) -> tuple[F64, F64]:  # fmt: skip
    """Return sum and number of the good pixels within `clip` sigma of `centre` in each mesh, (m, n) each.

    `data`, `var`, `bad` (ny, nx); `rows` (m + 1) and `columns` (n + 1) are the edges of the meshes.
    """
    image, noise, wrong = float32(data), float32(var), flags(bad)
    same_shape("data, variance and mask", image, noise, wrong)
    edges = plain(rows, np.int64), plain(columns, np.int64)
    total = np.zeros((len(edges[0]) - 1, len(edges[1]) - 1))
    count = np.zeros_like(total)
    _sums(image, noise, wrong, *edges, float(centre), float(clip), total, count)
    return total, count


def sums_near_plain(
    data: F64, var: F64, bad: U8, rows: I64, columns: I64, centre: float, clip: float = 3.0
) -> tuple[F64, F64]:
    """Do as `sums_near`, in plain numpy: its oracle."""
    keep = (bad == 0) & (np.square(data - centre) < clip**2 * var)
    made = [np.where(keep, data, 0.0), keep.astype(np.float64)]
    total, count = (np.add.reduceat(np.add.reduceat(m, columns[:-1], axis=1), rows[:-1], axis=0) for m in made)
    return total, count


@kernel
def _levels(data: F32, bad: U8, box: int, clip: float, truncation: float, thin: int, least: int, out: F64) -> None:
    ny, nx = data.shape
    values, keep = np.empty(box * box), np.empty(box * box, np.uint8)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            seen, n = 0, 0
            for y in range(j * box, min((j + 1) * box, ny)):
                for x in range(i * box, min((i + 1) * box, nx)):
                    if bad[y, x] == 0:
                        if seen % thin == 0:
                            values[n] = data[y, x]
                            n += 1
                        seen += 1
            if seen >= least:
                out[j, i] = _clipped(values[:n], keep[:n], clip, truncation)


@helper
def _clipped(values: F64, keep: U8, clip: float, truncation: float) -> float:
    """Return the mean of what lies within `clip` sigma of the mean, starting from median and MAD."""
    centre = float(np.median(values))
    scale = MAD_TO_SIGMA * float(np.median(np.abs(values - centre)))
    if scale == 0.0:
        scale = float(np.std(values))
    keep[:] = 1
    mean = float(np.mean(values))
    for _ in range(ROUNDS):
        limit, changed, n, total = clip * scale, False, 0, 0.0
        for k in range(values.size):
            inside = abs(values[k] - centre) <= limit
            changed |= inside != (keep[k] != 0)
            n += inside
            total += values[k] if inside else 0.0
        if n == 0 or not changed:
            break
        mean, square = total / n, 0.0
        for k in range(values.size):
            keep[k] = abs(values[k] - centre) <= limit
            square += (values[k] - mean) ** 2 if keep[k] else 0.0
        centre, scale = mean, math.sqrt(square / n) / truncation
    return mean


@kernel
def _sums(
    data: F32, var: F32, bad: U8, rows: I64, columns: I64, centre: float, clip: float, total: F64, count: F64
) -> None:
    middle, limit = np.float32(centre), np.float32(clip * clip)
    for j in range(total.shape[0]):
        for y in range(rows[j], rows[j + 1]):
            for i in range(total.shape[1]):
                light, n = np.float32(0), np.float32(0)
                for x in range(columns[i], columns[i + 1]):
                    off = data[y, x] - middle
                    use = np.float32(1) if bad[y, x] == 0 and off * off < limit * var[y, x] else np.float32(0)
                    light += use * off
                    n += use
                total[j, i] += light + n * middle
                count[j, i] += n


def rehearse() -> None:
    """Compile the kernels of this module."""
    image = np.zeros((8, 8), np.float32)
    clipped_levels(image, image, 4, clip=2.5, truncation=0.9, least=4)
    sums_near(image, image + 1, image, [0, 4, 8], [0, 4, 8], 0.0)
