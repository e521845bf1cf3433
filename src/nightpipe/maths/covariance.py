"""How neighbouring pixels of resampled images go together, and what that does to sums over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nightpipe.kernels.warp import lanczos
from nightpipe.maths.warpmap import Map

FloatArray = NDArray[np.float64]


def resampled_covariance(forward: Map, places: FloatArray, lags: int, stretch: float = 1.0) -> FloatArray:
    """Return the mean covariance (2 lags + 1, 2 lags + 1) of output pixels with those around, input variance 1.

    `places` (n, 2) are output pixels (x, y) to average over, `forward` maps the output to the input. The input's
    pixels are independent; output pixels share them through Lanczos's kernel, so the covariance of two is the sum of
    the products of their kernels (Casertano et al. 2000, AJ 120, 2747, appendix A, for the like of it in drizzle).
    Element ``[lags, lags]`` is the mean variance; the sum of all is 1 over the area of an output pixel.
    """
    step = np.arange(-lags, lags + 1.0)
    u, v = np.meshgrid(step, step)
    x0, y0 = (part[:, None, None] for part in forward(places[:, 0], places[:, 1]))
    x1, y1 = forward(places[:, 0, None, None] + u, places[:, 1, None, None] + v)
    both = _overlap(x0, x1, stretch) * _overlap(y0, y1, stretch)
    return np.asarray(np.nanmean(both, axis=0))


def _overlap(one: FloatArray, two: FloatArray, stretch: float) -> FloatArray:
    """Return the sum over pixels of the product of kernels centred at `one` and `two`."""
    half = int(np.ceil(3 * stretch))
    taps = np.floor(one)[..., None] + np.arange(1 - half, half + 1)
    first = lanczos((one[..., None] - taps) / stretch)
    second = lanczos((two[..., None] - taps) / stretch)
    whole = lanczos((two[..., None] - np.floor(two)[..., None] - np.arange(1 - half, half + 1)) / stretch)
    sums = first.sum(axis=-1) * whole.sum(axis=-1)
    return np.asarray((first * second).sum(axis=-1) / sums)


def variance_factor(correlation: FloatArray, weights: ArrayLike) -> float:
    """Return the variance of a weighted sum of pixels over that which independent pixels would have.

    `weights` (ny, nx), for instance 1 within an aperture; `correlation` as in `Stack`. For large apertures this is
    the sum of `correlation`.
    """
    w = np.asarray(weights, np.float64)
    return float((w * ndimage.convolve(w, correlation, mode="constant")).sum() / np.square(w).sum())
