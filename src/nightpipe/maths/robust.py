"""Location and scale that a few outliers cannot move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a normal distribution over its median absolute deviation."""


def mad_std(values: ArrayLike, axis: int | None = None) -> Any:
    """Return the standard deviation that a normal sample with this median absolute deviation has."""
    array = np.asarray(values, dtype=np.float64)
    middle = np.median(array, axis=axis, keepdims=True)
    return MAD_TO_SIGMA * np.median(np.abs(array - middle), axis=axis)


def clipped(values: ArrayLike, clip: float = 4.0, iterations: int = 8, good: Bools | None = None) -> Bools:
    """Return which `values` lie within `clip` standard deviations of their mean, starting from median and MAD.

    Coarsely digitised samples may have a MAD of zero: the first scale then is the standard deviation.
    """
    array = np.asarray(values, dtype=np.float64)
    keep = np.isfinite(array) if good is None else good & np.isfinite(array)
    if not keep.any():
        return keep
    start, centre = keep, float(np.median(array[keep]))
    scale = float(mad_std(array[keep])) or float(np.std(array[keep]))
    for _ in range(iterations):
        inside = start & (np.abs(array - centre) <= clip * scale)
        if not inside.any() or np.array_equal(inside, keep):
            break
        keep = inside
        centre, scale = float(np.mean(array[keep])), clipped_scale(array[keep], clip)
    return keep


def clipped_scale(kept: ArrayLike, clip: float) -> float:
    """Return the standard deviation of a normal sample from what was left of it after clipping at `clip` sigma."""
    return float(np.std(np.asarray(kept, dtype=np.float64))) / truncation(clip)


def truncation(clip: float) -> float:
    """Return the standard deviation of a unit normal distribution truncated at +-`clip`."""
    density = math.exp(-0.5 * clip * clip) / math.sqrt(2 * math.pi)
    inside = math.erf(clip / math.sqrt(2))
    return math.sqrt(1 - 2 * clip * density / inside)


def clipped_stats(values: ArrayLike, clip: float = 4.0) -> tuple[float, float, int]:
    """Return mean, standard deviation (corrected for the clip, one degree of freedom lost) and number of what is kept.

    Of nothing finite: (nan, nan, 0).
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    kept = array[clipped(array, clip)]
    if kept.size == 0:
        return math.nan, math.nan, 0
    freedom = math.sqrt(kept.size / max(kept.size - 1, 1))
    return float(np.mean(kept)), clipped_scale(kept, clip) * freedom, int(kept.size)


def line_clipped_mean(lines: ArrayLike, clip: float = 4.0) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return mean and count of each row of `lines` (n, m), outliers of a common noise left out.

    The noise is pooled over all rows, so that rows of few values keep a sound scale.
    """
    array = np.asarray(lines, dtype=np.float64)
    residual = array - np.median(array, axis=1, keepdims=True)
    scale = float(mad_std(residual)) or float(np.std(residual)) or 1.0
    keep = np.abs(residual) <= clip * scale
    count = keep.sum(axis=1)
    total = np.where(keep, residual, 0.0).sum(axis=1)
    return np.median(array, axis=1) + total / np.maximum(count, 1), count


def masked_median(values: NDArray[Any], good: Bools, axis: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the median of the good `values` along `axis`, and their number; 0 where there is none."""
    ordered = np.sort(np.where(good, values, np.inf), axis=axis)
    count = good.sum(axis=axis)
    low, high = np.maximum((count - 1) // 2, 0), np.maximum(count // 2, 0)
    last = ordered.shape[axis] - 1
    pair = [np.take_along_axis(ordered, np.expand_dims(np.minimum(k, last), axis), axis) for k in (low, high)]
    middle = np.squeeze((pair[0] + pair[1]) / 2, axis)
    return np.where(count > 0, middle, 0).astype(values.dtype), count


def running_median(image: NDArray[Any], size: int, axis: int) -> NDArray[Any]:
    """Return the median of `size` (odd) pixels along one axis of `image` (ny, nx); edges repeat the last pixel.

    All lines are filtered as a single one: for that there is an algorithm whose time does not grow with the window.
    """
    from scipy.ndimage import median_filter

    half = size // 2
    lines = np.moveaxis(image, axis, -1)
    padded = np.pad(lines, ((0, 0), (half, half)), mode="edge")
    found = median_filter(padded.ravel(), size, mode="nearest").reshape(padded.shape)
    return np.ascontiguousarray(np.moveaxis(found[:, half : half + lines.shape[1]], -1, axis))


def boxes(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Return `image` (ny, nx) cut into boxes of about `size` pixels a side: (n, rows * columns), remainders left out.

    Images narrower than `size` are one box wide.
    """
    ny, nx = image.shape
    high, wide = min(size, ny), min(size, nx)
    rows, columns = ny // high, nx // wide
    cut = image[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
    return cut.swapaxes(1, 2).reshape(rows * columns, high * wide)
