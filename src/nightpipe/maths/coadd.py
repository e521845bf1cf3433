"""Exposures of one object on one grid: their ratios, weights and outliers. Arrays are (exposures, bins)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCKS = 24
"""A ratio is measured in so many blocks of wavelength."""


@dataclass(frozen=True)
class Ratio:
    """Flux of a reference over that of another exposure: `value`, `error`, and `trend`, its rms over wavelength."""

    value: float
    error: float
    trend: float


def flux_ratio(reference: FloatArray, other: FloatArray, var: tuple[FloatArray, FloatArray], good: Bools) -> Ratio:
    """Return the robust ratio of two exposures, unbiased by their noise.

    Blocks of wavelength are averaged first; the ratio is the weighted median of the blocks' ratios where both are
    significant; its error comes from their scatter, hence covers chromatic losses, and is infinite without any.
    """
    index = np.flatnonzero(good)
    blocks = [block for block in np.array_split(index, int(np.clip(len(index) // 8, 1, BLOCKS))) if len(block) >= 8]
    rows = [_block(reference[b], other[b], var[0][b], var[1][b]) for b in blocks]
    table = np.array([row for row in rows if row is not None]).reshape(-1, 2)
    if len(table) < 3:
        return Ratio(1.0, np.inf, 0.0)
    ratio, error = table.T
    weight = 1.0 / np.maximum(error, 1e-3) ** 2
    centre = _weighted_median(ratio, weight)
    scatter = 1.4826 * _weighted_median(np.abs(ratio - centre), weight)
    expected = float(np.sqrt(1.0 / np.sum(1.0 / error**2)))
    trend = float(np.sqrt(max(scatter**2 - float(np.median(error)) ** 2, 0.0)))
    return Ratio(centre, float(np.hypot(1.2533 * expected, trend / np.sqrt(len(ratio)))), trend / centre)


def _block(a: FloatArray, b: FloatArray, var_a: FloatArray, var_b: FloatArray) -> tuple[float, float] | None:
    # means weighted alike, by smooth numbers: weights that follow the counts would bias the ratio
    mean_a, mean_b = float(np.median(a)), float(np.median(b))
    error_a, error_b = (1.2533 * float(np.sqrt(np.median(v) / len(v))) for v in (var_a, var_b))
    if mean_a < 5.0 * error_a or mean_b < 5.0 * error_b:
        return None
    ratio = mean_a / mean_b
    return ratio, ratio * float(np.hypot(error_a / mean_a, error_b / mean_b))


def _weighted_median(values: FloatArray, weight: FloatArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def smooth_weights(var: FloatArray, good: Bools, *, size: int = 101) -> FloatArray:
    """Return the weight of each exposure at each bin: the inverse of its variance relative to the others', smoothed.

    Variances made from counts are large where counts fluctuated upwards; weights that follow them bin by bin bias the
    mean low. Only the slowly varying ratio of an exposure's variance to the mean of all is therefore used.
    """
    from scipy.ndimage import median_filter

    usable = good & (var > 0)
    count = np.maximum(usable.sum(axis=0), 1)
    mean = np.where(usable, var, 0.0).sum(axis=0) / count
    weights = np.empty_like(var)
    bins = np.arange(var.shape[1])
    for k, row in enumerate(var):
        known = np.flatnonzero(usable[k] & (mean > 0))
        ratio = np.interp(bins, known, row[known] / mean[known]) if known.size else np.ones_like(row)
        weights[k] = 1.0 / median_filter(ratio, size=min(size, len(row)), mode="nearest")
    return weights


def outliers(
    flux: FloatArray, var: FloatArray, good: Bools, near_hit: Bools, shift: FloatArray, *, clip: float, slack: float
) -> Bools:
    """Return which bins of which exposures contradict the others beyond `clip` sigma plus `slack` times the flux.

    `shift` (bins,) is how far apart [bins] the light of the exposures lies: on a slope that alone makes a difference.
    Three and more: each is compared with their median. Two: nobody can tell which is right, but cosmic rays only add;
    the larger goes if a hit was flagged nearby, or if they differ by twice the limit.
    """
    counted = good.sum(axis=0)
    found = np.zeros(good.shape, dtype=bool)
    if flux.shape[0] >= 3:
        found |= _against_the_median(flux, var, good, shift, clip=clip, slack=slack) & (counted >= 3)
    for i in range(flux.shape[0]):
        for j in range(flux.shape[0]):
            if i == j:
                continue
            pair = good[i] & good[j] & (counted == 2)
            limit = clip * np.sqrt(var[i] + var[j]) + _allowed(flux[j], shift, slack)
            found[i] |= pair & (flux[i] - flux[j] > np.where(near_hit[i], limit, 2.0 * limit))
    return found


def _against_the_median(
    flux: FloatArray, var: FloatArray, good: Bools, shift: FloatArray, *, clip: float, slack: float
) -> Bools:
    """Return what lies beyond the limits from the median of all; the median of the *others* would fail with three."""
    values = np.where(good, flux, np.nan)
    some = good.any(axis=0)
    middle, count = np.zeros(flux.shape[1]), np.maximum(good.sum(axis=0), 1)
    middle[some] = np.nanmedian(values[:, some], axis=0)
    spread = 1.57 * np.where(good, var, 0.0).sum(axis=0) / count**2
    limit = clip * np.sqrt(var + spread) + _allowed(middle, shift, slack)
    return np.asarray(good & some & (np.abs(flux - middle) > limit))


def _allowed(flux: FloatArray, shift: FloatArray, slack: float) -> FloatArray:
    """Return the difference that calibration and the shift on the steeper side of a bin excuse."""
    step = np.abs(np.diff(flux, prepend=flux[:1], append=flux[-1:]))
    return np.asarray(slack * np.abs(flux) + shift * np.maximum(step[1:], step[:-1]))
