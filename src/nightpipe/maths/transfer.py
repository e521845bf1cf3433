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


def overscan_noise(lines: FloatArray, pedestal: FloatArray) -> Value:
    """Return the noise [adu] of overscan `lines` (n places, m values) about their `pedestal` (n,).

    The mean of every line is removed too, since amplifiers ring after the last light. Differences between neighbours
    would be simpler, but neighbours correlate: on P200/DBSP they are 3 to 5% off.
    """
    residual = lines - pedestal[:, None]
    variance, count = box_variance((residual - np.median(residual, axis=0)).reshape(1, -1))
    value = float(np.sqrt(variance[0]))
    return Value(value, value / float(np.sqrt(2 * max(count[0], 1.0))), 1)
