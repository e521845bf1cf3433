"""Many short traces side by side: their light rendered onto the detector and fitted, column by column.

A trace's light in a row is its total in the column times the share that the profile has there: the difference of the
profile's cumulative `below`, tabulated over offsets in units of the width, at the row's two edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels.arrays import F32, F64, I64, float32, float64, plain, same_shape
from nightpipe.kernels.build import helper, kernel

HALF = 9
"""Rows on either side of a trace that its light reaches."""


@helper
def _at(table: F64, first: float, step: float, u: float) -> float:
    """Return a table's value at `u`, linear between entries and held beyond its ends."""
    place = (u - first) / step
    if place <= 0.0:
        return table[0]
    low = int(place)
    if low >= len(table) - 1:
        return table[-1]
    return table[low] + (place - low) * (table[low + 1] - table[low])


@helper
def _density(table: F64, first: float, step: float, u: float) -> float:
    """Return the slope of a table at `u`, between those of its intervals so that it has no steps; 0 outside."""
    return (_at(table, first, step, u + step) - _at(table, first, step, u - step)) / (2.0 * step)


@kernel
def _render(image: F32, first: I64, rows: F64, sigma: F64, light: F64, below: F64, start: float, step: float) -> None:
    ny, nx = image.shape
    for k in range(len(first)):
        for i in range(rows.shape[1]):
            column = first[k] + i
            amount = light[k, i]
            if column < 0 or column >= nx or amount == 0.0:
                continue
            centre, width = rows[k, i], sigma[k, i]
            low = int(np.floor(centre + 0.5)) - HALF
            under = _at(below, start, step, (low - 0.5 - centre) / width)
            for j in range(low, low + 2 * HALF + 1):
                over = _at(below, start, step, (j + 0.5 - centre) / width)
                if 0 <= j < ny:
                    image[j, column] += amount * (over - under)
                under = over


@kernel
def _improve(
    residual: F32, weight: F32, first: I64, rows: F64, sigma: F64, light: F64, below: F64, start: float, step: float,
    window: float, out: F64,
) -> None:  # fmt: skip
    ny, nx = residual.shape
    for k in range(len(first)):
        for i in range(rows.shape[1]):
            column = first[k] + i
            if column < 0 or column >= nx:
                continue
            centre, width, amount = rows[k, i], sigma[k, i], light[k, i]
            s00 = s01 = s02 = s11 = s12 = s22 = b0 = b1 = b2 = 0.0
            low, high = int(np.ceil(centre - window)), int(np.floor(centre + window))
            for j in range(max(low, 0), min(high + 1, ny)):
                w = weight[j, column]
                if w <= 0.0:
                    continue
                u0, u1 = (j - 0.5 - centre) / width, (j + 0.5 - centre) / width
                p0, p1 = _density(below, start, step, u0), _density(below, start, step, u1)
                share = _at(below, start, step, u1) - _at(below, start, step, u0)
                moved, wider = -(p1 - p0) / width, -(u1 * p1 - u0 * p0) / width
                r = residual[j, column]
                s00 += w * share * share
                s01 += w * share * moved
                s02 += w * share * wider
                s11 += w * moved * moved
                s12 += w * moved * wider
                s22 += w * wider * wider
                b0 += w * share * r
                b1 += w * moved * r
                b2 += w * wider * r
            if s00 <= 0.0:
                continue
            out[k, i, 0], out[k, i, 1] = amount + b0 / s00, s00
            # shift and widening, each after the light is freed of it; they are all but orthogonal to each other
            d11, d22 = s11 - s01 * s01 / s00, s22 - s02 * s02 / s00
            c1, c2 = b1 - s01 * b0 / s00, b2 - s02 * b0 / s00
            if amount > 0.0 and d11 > 0.0 and d22 > 0.0:
                out[k, i, 2], out[k, i, 3] = c1 / (d11 * amount), d11 * amount * amount
                out[k, i, 4], out[k, i, 5] = c2 / (d22 * amount), d22 * amount * amount


@kernel
def _shape(
    residual: F32, weight: F32, first: I64, rows: F64, sigma: F64, light: F64, below: F64, start: float, step: float,
    knots: F64, window: float, stride: int, normal: F64, right: F64,
) -> None:  # fmt: skip
    ny, nx = residual.shape
    gap = knots[1] - knots[0]
    size = len(knots)
    share = np.zeros(size)
    for k in range(len(first)):
        for i in range(0, rows.shape[1], stride):
            column = first[k] + i
            if column < 0 or column >= nx or light[k, i] <= 0.0:
                continue
            centre, width, amount = rows[k, i], sigma[k, i], light[k, i]
            low, high = int(np.ceil(centre - window)), int(np.floor(centre + window))
            for j in range(max(low, 0), min(high + 1, ny)):
                w = weight[j, column]
                if w <= 0.0:
                    continue
                u0, u1 = (j - 0.5 - centre) / width, (j + 0.5 - centre) / width
                a, b = max(int((u0 - knots[0]) / gap), 0), min(int((u1 - knots[0]) / gap) + 1, size - 1)
                own = amount * (_at(below, start, step, u1) - _at(below, start, step, u0))
                target = residual[j, column] + own
                for n in range(a, b + 1):
                    share[n] = amount * gap * (_hat((u1 - knots[n]) / gap) - _hat((u0 - knots[n]) / gap))
                for n in range(a, b + 1):
                    right[n] += w * share[n] * target
                    for m in range(a, b + 1):
                        normal[n, m] += w * share[n] * share[m]


@helper
def _hat(t: float) -> float:
    """Return the integral of the hat function (1 - |t|) up to t."""
    if t <= -1.0:
        return 0.0
    if t >= 1.0:
        return 1.0
    return 0.5 * (1.0 + t) ** 2 if t < 0.0 else 1.0 - 0.5 * (1.0 - t) ** 2


def _profile(offset: ArrayLike, below: ArrayLike) -> tuple[F64, float, float]:
    places = float64(offset)
    return float64(below), float(places[0]), float(places[1] - places[0])


def render(
    shape: tuple[int, int], first: ArrayLike, rows: ArrayLike, sigma: ArrayLike, light: ArrayLike, offset: ArrayLike,
    below: ArrayLike,
) -> F32:  # fmt: skip
    """Return the image (ny, nx) of n traces: `light` (n, m) in the columns from `first` (n,) on, about `rows` (n, m).

    `sigma` (n, m) [pixel] scales the profile, whose cumulative `below` is tabulated at the evenly spaced `offset`.
    """
    image = np.zeros(shape, dtype=np.float32)
    parts = float64(rows), float64(sigma), float64(light)
    same_shape("rows, widths and light", *parts)
    _render(image, plain(first, np.int64), *parts, *_profile(offset, below))
    return image


def improve(
    residual: ArrayLike, weight: ArrayLike, first: ArrayLike, rows: ArrayLike, sigma: ArrayLike, light: ArrayLike,
    offset: ArrayLike, below: ArrayLike, *, window: float = 4.0,
) -> NDArray[np.float64]:  # fmt: skip
    """Return what the `residual` (data less the model of all traces) says of each trace in each column, (n, m, 6).

    Light and its inverse variance, shift of the centre and its inverse variance, change of the width and its; zero
    where nothing is known. `weight` is 1/variance, 0 for bad pixels; pixels within `window` of the centre count.
    """
    image, weights = float32(residual), float32(weight)
    same_shape("residual and weight", image, weights)
    parts = float64(rows), float64(sigma), float64(light)
    same_shape("rows, widths and light", *parts)
    out = np.zeros((*parts[0].shape, 6))
    _improve(image, weights, plain(first, np.int64), *parts, *_profile(offset, below), float(window), out)
    return out


def shape_normal(
    residual: ArrayLike, weight: ArrayLike, first: ArrayLike, rows: ArrayLike, sigma: ArrayLike, light: ArrayLike,
    offset: ArrayLike, below: ArrayLike, knots: ArrayLike, *, window: float = 6.0, stride: int = 3,
) -> tuple[F64, F64]:  # fmt: skip
    """Return the normal equations (p, p), (p,) of the profile's density at evenly spaced `knots` [sigma], hats between.

    All traces share it; each sees the data less the model of the others. Every `stride`-th column is used.
    """
    image, weights, places = float32(residual), float32(weight), float64(knots)
    parts = float64(rows), float64(sigma), float64(light)
    normal, right = np.zeros((len(places), len(places))), np.zeros(len(places))
    table = _profile(offset, below)
    _shape(image, weights, plain(first, np.int64), *parts, *table, places, float(window), int(stride), normal, right)
    return normal, right


def rehearse() -> None:
    """Compile the kernels of this module."""
    offset = np.linspace(-6.0, 6.0, 241)
    below = 0.5 * (1.0 + np.tanh(offset))
    traces = (np.array([2]), np.full((1, 4), 15.2), np.full((1, 4), 1.1), np.ones((1, 4)), offset, below)
    image = render((30, 8), *traces)
    improve(image, np.ones((30, 8)), *traces)
    shape_normal(image, np.ones((30, 8)), *traces, np.linspace(-5.0, 5.0, 21))


def render_plain(
    shape: tuple[int, int], first: I64, rows: F64, sigma: F64, light: F64, offset: F64, below: F64
) -> F64:  # fmt: skip
    """Return what `render` does, one column at a time in numpy: its oracle."""
    image = np.zeros(shape)
    y = np.arange(shape[0])
    for k, i in np.ndindex(rows.shape):
        edges = (np.append(y, y[-1] + 1) - 0.5 - rows[k, i]) / sigma[k, i]
        share = np.diff(np.interp(edges, offset, below))
        share[np.abs(y - np.floor(rows[k, i] + 0.5)) > HALF] = 0.0
        if 0 <= first[k] + i < shape[1]:
            image[:, first[k] + i] += light[k, i] * share
    return image
