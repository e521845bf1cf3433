"""Ridges of light along x: the first look at a dome's spectra, without a model of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import mad_std
from nightpipe.model.frame import Frame

FloatArray = NDArray[np.float64]
SMOOTH = 15
"""Columns over which light is averaged: traces tilt by less than a twentieth of a pixel per pixel."""
REACH = 3
"""Rows on either side of a ridge whose light is its own."""


@dataclass(frozen=True)
class Chains:
    """Ridges: `x` [column] splits the light of each into halves, `first` and `last` are their outermost columns.

    `row` (n, 3) are coefficients of the ridge's row in ``column - x`` [pixel]; `even` (n,) is the typical light over
    the most: a lamp's lines stand out, a continuum does not.
    `short` counts ridges too short for a spectrum, `peak` [electron] is the light of the brighter ones, `noise` the
    scatter between them.
    """

    x: FloatArray
    row: FloatArray
    even: FloatArray
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    short: int
    peak: float
    noise: float

    def __len__(self) -> int:
        return int(self.x.size)


def find_chains(frame: Frame, *, least: int, threshold: float) -> Chains:
    """Return the ridges at least `least` columns long that rise by `threshold` of the bright ones' light.

    A pixel is on a ridge where it is the highest of its column nearby; ridge pixels that touch form a chain.
    """
    from scipy.ndimage import label, minimum_filter1d

    image = _smoothed(frame)
    rise = image - minimum_filter1d(image, 2 * REACH + 3, axis=0)
    peak = np.zeros(image.shape, dtype=bool)
    peak[1:-1] = (image[1:-1] > image[:-2]) & (image[1:-1] >= image[2:])
    heights = rise[peak]
    level = float(np.percentile(heights, 95)) if heights.size else 0.0
    noise = float(mad_std(image[:, ::16] - np.roll(image, 1, axis=0)[:, ::16])) / np.sqrt(2.0)
    on = peak & (rise > max(threshold * level, 8.0 * _noise(frame)))
    labels, count = label(on, structure=np.ones((3, 3)))
    return _gathered(image, labels, count, least, level, noise)


def _noise(frame: Frame) -> float:
    """Return the scatter [electron] that a dark pixel has after the averaging."""
    return float(np.sqrt(np.percentile(frame.var, 5) / SMOOTH))


def _smoothed(frame: Frame) -> FloatArray:
    from scipy.ndimage import uniform_filter1d

    good = frame.good.astype(np.float32)
    total = uniform_filter1d(np.where(frame.good, frame.data, 0).astype(np.float32), SMOOTH, axis=1)
    share = uniform_filter1d(good, SMOOTH, axis=1)
    return np.asarray(np.where(share > 0.3, total / np.maximum(share, 0.3), 0.0), dtype=np.float64)


def _gathered(
    image: FloatArray, labels: NDArray[np.integer[Any]], count: int, least: int, level: float, noise: float
) -> Chains:
    """Return the chains in one form, the middle of each where half its light is passed."""
    y, x = np.nonzero(labels)
    owner = labels[y, x] - 1
    order = np.lexsort((x, owner))
    y, x, owner = y[order], x[order], owner[order]
    starts = np.searchsorted(owner, np.arange(count))
    ends = np.append(starts[1:], len(owner))
    length = ends - starts
    rows = []
    for a, b in zip(starts[length >= least], ends[length >= least], strict=True):
        light = _light(image, y[a:b], x[a:b])
        half = int(np.searchsorted(np.cumsum(light), light.sum() / 2.0))
        half = min(half, b - a - 1)
        middle = float(x[a + half])
        row = np.polynomial.polynomial.polyfit(x[a:b] - middle, _ridge(image, y[a:b], x[a:b]), 2, w=np.sqrt(light))
        rows.append((middle, *row, int(x[a]), int(x[b - 1]), np.median(light) / max(float(light.max()), 1e-9)))
    table = np.array(rows).reshape(-1, 7)
    first, last = table[:, 4].astype(np.int64), table[:, 5].astype(np.int64)
    return Chains(table[:, 0], table[:, 1:4], table[:, 6], first, last, int((length < least).sum()), level, noise)


def _light(image: FloatArray, y: NDArray[np.int64], x: NDArray[np.int64]) -> FloatArray:
    rows = np.clip(y[:, None] + np.arange(-REACH, REACH + 1), 0, image.shape[0] - 1)
    values = image[rows, x[:, None]]
    return np.asarray(np.maximum((values - values.min(axis=1, keepdims=True)).sum(axis=1), 0.0))


def _ridge(image: FloatArray, y: NDArray[np.int64], x: NDArray[np.int64]) -> FloatArray:
    """Return the row of the ridge's top in each column, from a parabola through three pixels."""
    inner = np.clip(y, 1, image.shape[0] - 2)
    a, b, c = (image[inner + k, x] for k in (-1, 0, 1))
    bend = np.minimum(a - 2.0 * b + c, -1e-9)
    return np.asarray(inner + np.clip(0.5 * (a - c) / bend, -0.5, 0.5))
