"""Light along a slit: pixel-integrated Moffat and Gaussian profiles, widths, centres."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))

_NODES = np.array([-0.9061798459386640, -0.5384693101056831, 0.0, 0.5384693101056831, 0.9061798459386640]) / 2
_WEIGHTS = (
    np.array([0.2369268850561891, 0.4786286704993665, 0.5688888888888889, 0.4786286704993665, 0.2369268850561891]) / 2
)


def moffat(offset: ArrayLike, fwhm: ArrayLike, beta: float) -> FloatArray:
    """Return the share of light in pixels at `offset` from the centre, for ``(1 + (offset / alpha)^2)^-beta``.

    A star's image cut by a slit has this shape to a good approximation (Moffat 1969, with beta lower by one half than
    in the plane). Integrated over each pixel by five-point Gauss-Legendre; the sum over an endless slit is one.
    """
    offset, fwhm = np.broadcast_arrays(np.asarray(offset, dtype=np.float64), np.asarray(fwhm, dtype=np.float64))
    alpha = fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / beta) - 1.0))
    norm = alpha * math.sqrt(math.pi) * math.exp(math.lgamma(beta - 0.5) - math.lgamma(beta))
    total = np.zeros(offset.shape)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        total += weight * (1.0 + ((offset + node) / alpha) ** 2) ** -beta
    return np.asarray(total / norm)


def gaussian(offset: ArrayLike, fwhm: ArrayLike) -> FloatArray:
    """Return the share of light in pixels at `offset` from the centre of a Gaussian, integrated over each pixel."""
    from scipy.special import ndtr

    sigma = np.asarray(fwhm, dtype=np.float64) / FWHM_PER_SIGMA
    offset = np.asarray(offset, dtype=np.float64)
    return np.asarray(ndtr((offset + 0.5) / sigma) - ndtr((offset - 0.5) / sigma))


def box_share(offset: ArrayLike, half: ArrayLike) -> FloatArray:
    """Return the share of each pixel at `offset` that lies within `half` of the centre: a box with fractional edges."""
    offset, half = np.asarray(offset, dtype=np.float64), np.asarray(half, dtype=np.float64)
    inside = np.minimum(offset + 0.5, half) - np.maximum(offset - 0.5, -half)
    return np.clip(inside, 0.0, 1.0)


def width_of(values: FloatArray, offset: FloatArray) -> float:
    """Return the full width at half maximum of a sampled single-peaked profile, or 0 where there is none.

    `offset` increases; the half-maximum crossings next to the peak are interpolated linearly.
    """
    peak = int(np.argmax(values))
    half = 0.5 * values[peak]
    if not half > 0:
        return 0.0
    left = _crossing(values[peak::-1], offset[peak::-1], half)
    right = _crossing(values[peak:], offset[peak:], half)
    return abs(right - left)


def _crossing(values: FloatArray, offset: FloatArray, level: float) -> float:
    below = np.flatnonzero(values < level)
    if below.size == 0:
        return float(offset[-1])
    k = int(below[0])
    share = (values[k - 1] - level) / (values[k - 1] - values[k])
    return float(offset[k - 1] + share * (offset[k] - offset[k - 1]))


def centroid_shift(
    values: FloatArray, var: FloatArray, offset: FloatArray, fwhm: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the shift of profiles (..., n) from `offset` zero, its error, and amplitude over error, each (...).

    Linear least squares for ``a G + b G'``, G a Gaussian of width `fwhm`; shift = -b / a. Exact for small shifts, so
    iterate. `var` is infinite where a value is not to be used. Where there is no light the error is infinite.
    """
    step = 0.05 * fwhm
    shape = gaussian(offset, fwhm)
    slope = (gaussian(offset + step, fwhm) - gaussian(offset - step, fwhm)) / (2 * step)
    weight = np.where(np.isfinite(var) & (var > 0), 1.0 / np.where(var > 0, var, 1.0), 0.0)
    aa, bb, ab = (np.sum(weight * p * q, axis=-1) for p, q in ((shape, shape), (slope, slope), (shape, slope)))
    ra, rb = (np.sum(weight * p * values, axis=-1) for p in (shape, slope))
    det = aa * bb - ab**2
    solved = (det > 1e-12 * aa * bb) & (aa > 0)
    det = np.where(solved, det, 1.0)
    amplitude, tilt = (bb * ra - ab * rb) / det, (aa * rb - ab * ra) / det
    lit = solved & (amplitude > 0)
    safe = np.where(lit, amplitude, 1.0)
    shift = np.where(lit, -tilt / safe, 0.0)
    error = np.where(lit, np.sqrt(np.maximum(aa / det, 0.0)) / safe, np.inf)
    significance = np.where(solved, amplitude / np.sqrt(np.where(solved & (bb > 0), bb / det, 1.0)), 0.0)
    return shift, error, significance
