"""Photon transfer: gain and read noise from the differences of equal exposures.

The variance of a difference holds photons and readout, while what both frames share (pixel response, illumination)
cancels: Janesick, Klaasen & Elliott 1987, Optical Engineering 26, 972.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import MAD_TO_SIGMA, boxes, truncation

FloatArray = NDArray[np.float64]
_CLIP = 4.0


class Value(NamedTuple):
    """A measured number, its error (one sigma) and the number of boxes behind it; nan where there is none."""

    value: float
    error: float
    boxes: int


class Transfer(NamedTuple):
    """Points of a photon-transfer curve, one a box.

    `signal` [adu] and `variance` [adu^2] of the difference, of which `readout` [adu^2] is the readout's part; `pixels`
    is their number in the box. For a linear detector ``variance = signal / gain + readout``.
    """

    signal: FloatArray
    variance: FloatArray
    readout: FloatArray
    pixels: FloatArray


def box_variance(difference: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Return the variance of each row of `difference` (n, pixels), clipped at 4 sigma, and the pixels that were kept.

    The clip's own effect on a normal sample is taken out.
    """
    residual = np.asarray(difference, dtype=np.float64)
    residual = residual - np.median(residual, axis=1, keepdims=True)
    width = MAD_TO_SIGMA * np.median(np.abs(residual), axis=1)
    width = np.where(width > 0, width, np.std(residual, axis=1))
    keep = np.abs(residual) <= _CLIP * width[:, None]
    count = keep.sum(axis=1).astype(np.float64)
    kept = np.where(keep, residual, 0.0)
    mean = kept.sum(axis=1) / np.maximum(count, 1)
    square = np.sum(np.square(kept), axis=1) - count * mean**2
    return square / np.maximum(count - 1, 1) / truncation(_CLIP) ** 2, count


def bias_noise(one: NDArray[Any], two: NDArray[Any], size: int = 32) -> Value:
    """Return the noise [adu] of a single frame from a pair of bias frames.

    The level of each box is taken away, so that a pedestal that drifts between the two does not count; the error
    follows from the scatter between boxes.
    """
    variance, _ = box_variance(boxes(np.asarray(one, dtype=np.float64) - two, size))
    if len(variance) < 2:
        return Value(float(np.sqrt(np.median(variance) / 2)) if len(variance) else np.nan, np.nan, len(variance))
    middle = float(np.median(variance)) / 2
    keep = np.abs(variance / 2 - middle) <= _CLIP * max(
        float(MAD_TO_SIGMA * np.median(abs(variance / 2 - middle))), 1e-9
    )
    mean = float(np.mean(variance[keep])) / 2
    error = float(np.std(variance[keep])) / 2 / np.sqrt(keep.sum())
    return Value(float(np.sqrt(mean)), float(error / (2 * np.sqrt(mean))) if mean > 0 else np.nan, int(keep.sum()))


def transfer(one: NDArray[Any], two: NDArray[Any], bad: NDArray[np.bool_], noise: float, size: int = 32) -> Transfer:
    """Return the photon-transfer points of a pair of flats [adu above the pedestal], `noise` the read noise [adu].

    In each box the second is scaled by the ratio r of the sums, so that neither a drifting lamp nor the shape of the
    illumination counts: ``var(a - r b) = (1 + r) a / gain + (1 + r^2) noise^2``. Boxes with a bad pixel or without
    light are left out.
    """
    a, b = (boxes(np.asarray(image, dtype=np.float64), size) for image in (one, two))
    use = ~boxes(bad, size).any(axis=1) & (a.mean(axis=1) > 0) & (b.mean(axis=1) > 0)
    a, b = a[use], b[use]
    ratio = a.mean(axis=1) / b.mean(axis=1)
    variance, count = box_variance(a - ratio[:, None] * b)
    return Transfer((1 + ratio) * a.mean(axis=1), variance, (1 + ratio**2) * noise**2, count)


def transfer_by_light(
    one: NDArray[Any], two: NDArray[Any], bad: NDArray[np.bool_], noise: float, size: int = 32
) -> Transfer:
    """Return the photon-transfer points of a pair whose light changes from pixel to pixel, as behind lenslets.

    As `transfer`, with pixels of equal light for boxes: they are grouped by the sum of both frames, which at equal
    levels does not know of their difference. One ratio serves the whole frame; every third column is used. A hundredth
    of a pixel by which the spectra move between the two outshines the photons: that movement is fitted and taken out.
    """
    ratio = float(np.sum(one, where=~bad) / max(float(np.sum(two, where=~bad)), 1e-9))
    use = ~bad[:, ::3]
    moved = _movement(np.asarray(one, dtype=np.float64), ratio * np.asarray(two, dtype=np.float64), bad)
    a = (np.asarray(one, dtype=np.float64) - moved)[:, ::3][use]
    b = np.asarray(two, dtype=np.float64)[:, ::3][use]
    order = np.argsort(a + ratio * b)
    count = len(order) // size**2
    if count == 0 or ratio <= 0:
        return Transfer(*(np.zeros(0) for _ in range(4)))
    cells = order[len(order) - count * size**2 :].reshape(count, size**2)
    a, b = a[cells], b[cells]
    variance, kept = box_variance(a - ratio * b)
    return Transfer((1 + ratio) * a.mean(axis=1), variance, np.full(count, (1 + ratio**2) * noise**2), kept)


def _movement(one: FloatArray, two: FloatArray, bad: NDArray[np.bool_]) -> FloatArray:
    """Return what of the difference of two frames is a common shift: the gradients of their mean, by least squares."""
    mean, difference = (one + two) / 2.0, one - two
    slopes = [_slope(mean, axis) for axis in (0, 1)]
    weight = np.where(bad, 0.0, 1.0 / np.maximum(np.abs(mean), np.percentile(mean, 90)))
    matrix = np.array([[np.sum(weight * p * q) for q in slopes] for p in slopes])
    right = np.array([np.sum(weight * p * difference) for p in slopes])
    shift = np.linalg.pinv(matrix, hermitian=True) @ right
    return np.asarray(shift[0] * slopes[0] + shift[1] * slopes[1])


def _slope(image: FloatArray, axis: int) -> FloatArray:
    """Return the derivative by five points (of fourth order): spectra are but two pixels wide."""
    near, far = ((np.roll(image, -k, axis) - np.roll(image, k, axis)) / (2.0 * k) for k in (1, 2))
    return np.asarray((4.0 * near - far) / 3.0)


def joined(points: list[Transfer]) -> Transfer:
    """Return the points of several pairs as one set."""
    return Transfer(*(np.concatenate(column) for column in zip(*points, strict=True)))


def gain(points: Transfer) -> Value:
    """Return the gain [electron/adu]: the inverse slope of excess variance on signal, outlying boxes left out.

    The weights are those of the fitted variances, not of the measured ones: boxes that fluctuate down would weigh more.
    """
    signal, excess = points.signal, points.variance - points.readout
    if len(signal) < 3 or not np.any(excess > 0):
        return Value(np.nan, np.nan, len(signal))
    slope = max(float(np.sum(excess) / np.sum(signal)), 1e-12)
    keep = np.ones(len(signal), dtype=np.bool_)
    for _ in range(8):
        weight = (points.pixels - 1) / (2 * np.square(slope * signal + points.readout))
        used = weight * keep
        slope = max(float(np.sum(used * signal * excess) / np.sum(used * signal**2)), 1e-12)
        residual = (excess - slope * signal) * np.sqrt(weight)
        width = max(float(MAD_TO_SIGMA * np.median(np.abs(residual))), 1e-12)
        keep = np.abs(residual) <= _CLIP * width
    error = width / np.sqrt(float(np.sum(weight[keep] * signal[keep] ** 2)))
    return Value(1 / slope, float(error / slope**2), int(keep.sum()))


def stack_gain(flats: list[NDArray[Any]], limit: float, size: int = 32) -> Value:
    """Return the gain [electron/adu] from three or more flats [adu above the pedestal] of different levels.

    Each frame is compared with the mean of all others, box by box, and the variance fitted as a line on the light whose
    intercept is free: unlike `gain` it needs no read noise and no pairs. The error follows from the boxes' scatter.
    """
    cells = np.array([boxes(np.asarray(flat, dtype=np.float64), size) for flat in flats])
    use = (cells < limit).all(axis=(0, 2)) & (cells.mean(axis=2) > 0).all(axis=0)
    cells = cells[:, use]
    if len(flats) < 3 or cells.shape[1] < 3:
        return Value(np.nan, np.nan, int(cells.shape[1]))
    total, signals, variances = cells.sum(axis=0), [], []
    for one in cells:
        others = total - one
        ratio = one.mean(axis=1) / others.mean(axis=1)
        variance, _ = box_variance(one - ratio[:, None] * others)
        signals.append((1 + ratio) * one.mean(axis=1))
        # readout: 1 from the frame itself, ratio^2 from each of the others; put at the frame's own
        variances.append(variance / (1 + ratio**2 * (len(flats) - 1)))
        signals[-1] = signals[-1] / (1 + ratio**2 * (len(flats) - 1))
    signal, variance = np.concatenate(signals), np.concatenate(variances)
    if np.ptp(signal) < 0.5 * np.median(signal):  # frames of one level leave the intercept unknown
        return Value(np.nan, np.nan, len(signal))
    slope, error = _robust_slope(signal, variance)
    return Value(1 / slope, error / slope**2, len(signal))


def _robust_slope(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return slope and error of a line through points whose scatter grows with x, outliers left out."""
    keep = np.ones(len(x), dtype=np.bool_)
    line = np.array([0.0, 1.0])
    for _ in range(6):
        weight = keep / np.maximum(x, 1.0)
        design = np.stack([np.ones(len(x)), x], axis=1) * weight[:, None]
        line = np.linalg.lstsq(design, y * weight, rcond=None)[0]
        rest = (y - line[0] - line[1] * x) / np.maximum(x, 1.0)
        width = max(float(MAD_TO_SIGMA * np.median(np.abs(rest - np.median(rest)))), 1e-12)
        keep = np.abs(rest) <= _CLIP * width
    weight = keep / (width * np.maximum(x, 1.0))
    design = np.stack([np.ones(len(x)), x], axis=1) * weight[:, None]
    return float(line[1]), float(np.sqrt(np.linalg.inv(design.T @ design)[1, 1]))


def stack_noise(biases: list[NDArray[Any]]) -> Value:
    """Return the noise [adu] of a single frame from three or more biases: the scatter of each pixel in time.

    Levels that drift are taken out first; pixels with a hit of a cosmic ray are clipped away.
    """
    stack = np.array([np.asarray(bias, dtype=np.float64) - np.median(bias) for bias in biases])
    if len(stack) < 3:
        return Value(np.nan, np.nan, 0)
    variance = np.var(stack, axis=0, ddof=1).ravel()
    # a variance of n values scatters by sqrt(2 / (n - 1)): twelve times that is no noise
    keep = variance <= np.median(variance) * (1 + 12 * np.sqrt(2 / (len(stack) - 1)))
    mean = float(np.mean(variance[keep]))
    value = float(np.sqrt(mean))
    return Value(value, value / float(np.sqrt(2 * (len(stack) - 1) * keep.sum())), int(keep.sum()))


def overscan_noise(lines: FloatArray, pedestal: FloatArray) -> Value:
    """Return the noise [adu] of overscan `lines` (n places, m values) about their `pedestal` (n,).

    The mean of every line is removed too, since amplifiers ring after the last light. Differences between neighbours
    would be simpler, but neighbours correlate: on P200/DBSP they are 3 to 5% off.
    """
    residual = lines - pedestal[:, None]
    variance, count = box_variance((residual - np.median(residual, axis=0)).reshape(1, -1))
    value = float(np.sqrt(variance[0]))
    return Value(value, value / float(np.sqrt(2 * max(count[0], 1.0))), 1)
