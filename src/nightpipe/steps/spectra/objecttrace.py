"""The course of an object along the dispersion: centroids in chunks, and the polynomial that they justify."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.poly import Poly1, fit1
from nightpipe.maths.profile import centroid_shift, moffat
from nightpipe.steps.spectra.collapse import Chunks

Array = NDArray[np.float64]

FLOOR = 0.02
"""Error [pixel] below which no centroid is trusted: undersampling and pixel response leave as much."""


@dataclass(frozen=True)
class Course:
    """A traced object: `centre` (x) [pixel], how it was had (``"traced"``, ``"borrowed"``), and the chunks used."""

    centre: Poly1
    how: str
    x: Array
    y: Array
    err: Array


def traced(chunks: Chunks, start: Poly1, fwhm: float, max_order: int, limit: float = 5.0) -> Course:
    """Return the course of the object near `start`, or `start` moved as a whole where the object is too faint.

    Centroids are weighted; the order rises while chi-square falls by more than 11 per term (99.9 %), and never beyond a
    third of the chunks. Past the outermost centroids the course is drawn to the straight line through all of them.
    """
    x, y, err = _centroids(chunks, start, fwhm, limit)
    if len(x) < 4:
        return Course(_moved(chunks, start, fwhm), "borrowed", x, y, err)
    change, keep = _significant(x, y - start(x), err, min(max_order, len(x) // 3), start.domain, fwhm)
    return Course(summed(start, change), "traced", x[keep], y[keep], err[keep])


def summed(shape: Poly1, change: Poly1) -> Poly1:
    """Return the sum of two series on one domain, with the covariance of the `change`."""
    n = max(len(shape.coef), len(change.coef))
    coef, cov = np.zeros(n), np.zeros((n, n))
    coef[: len(shape.coef)] += shape.coef
    coef[: len(change.coef)] += change.coef
    if change.cov is not None:
        cov[: len(change.coef), : len(change.coef)] = change.cov
    return Poly1(coef, shape.domain, cov)


def _centroids(chunks: Chunks, start: Poly1, fwhm: float, limit: float) -> tuple[Array, Array, Array]:
    """Return x, y and error of the chunks in which the object is significant and near `start`."""
    first = start(chunks.x)
    y = first.copy()
    for _ in range(5):
        shift, err, significance, known = _shifts(chunks, y, fwhm)
        y = y + np.clip(shift, -0.5 * fwhm, 0.5 * fwhm)
        if np.abs(shift).max(initial=0.0) < 5e-3:
            break
    use = known & (significance >= limit) & (np.abs(y - first) < 1.2 * fwhm) & (err < 0.5 * fwhm)
    return chunks.x[use], y[use], np.hypot(err[use], FLOOR)


def _shifts(chunks: Chunks, y: Array, fwhm: float) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return shift, error and significance around `y` in every chunk, and whether enough rows were measured there."""
    ny = chunks.value.shape[1]
    reach = math.ceil(1.5 * fwhm)
    rows = np.round(y).astype(np.intp)[:, None] + np.arange(-reach, reach + 1)[None, :]
    offset = rows - y[:, None]
    near = np.abs(offset) <= 1.5 * fwhm
    place = np.clip(rows, 0, ny - 1)
    var = np.take_along_axis(chunks.error, place, axis=1) ** 2
    var = np.where(near & (rows == place), var, np.inf)
    known = np.isfinite(var).sum(axis=1) >= np.maximum(0.6 * near.sum(axis=1), 3)
    value = np.where(np.isfinite(var), np.take_along_axis(chunks.value, place, axis=1), 0.0)
    return *centroid_shift(value, var, offset, fwhm), known


def _moved(chunks: Chunks, start: Poly1, fwhm: float) -> Poly1:
    """Move the whole course by the centroid of all chunks together, if that is significant."""
    places = np.arange(-math.ceil(1.5 * fwhm), math.ceil(1.5 * fwhm) + 1.0)
    offset = 0.0
    for _ in range(4):
        mean, error = straightened(chunks, start.shifted(offset), places)
        shift, err, significance = (float(part) for part in centroid_shift(mean, error**2, places, fwhm))
        if significance < 3.0 or err > 0.5 * fwhm or abs(offset + shift) > fwhm:
            break
        offset += shift
    return start.shifted(offset)


def straightened(chunks: Chunks, centre: Poly1, places: Array) -> tuple[Array, Array]:
    """Return the mean profile at `places` [pixel] from the `centre`, and its error: weighted over the chunks."""
    rows = np.arange(chunks.value.shape[1], dtype=np.float64)
    value, var = [], []
    for x, v, e in zip(chunks.x, chunks.value, chunks.error, strict=True):
        at = float(centre(x)) + places
        value.append(np.interp(at, rows, v))
        var.append(_interpolated_var(at, rows, e))
    mean, error = weighted_mean(np.array(value), np.array(var))
    return mean, error


def _interpolated_var(at: Array, rows: Array, error: Array) -> Array:
    """Return the larger variance of the two neighbours: interpolation must not feign precision."""
    low = np.floor(at).astype(np.intp)
    outside = (low < 0) | (low + 1 > len(rows) - 1)
    low = np.clip(low, 0, len(rows) - 2)
    return np.where(outside, np.inf, np.maximum(error[low], error[low + 1]) ** 2)


def weighted_mean(value: Array, var: Array) -> tuple[Array, Array]:
    """Return the inverse-variance mean over the first axis and its error, infinite where nothing was measured."""
    weight = np.where(np.isfinite(var) & (var > 0), 1.0 / np.where(var > 0, var, 1.0), 0.0)
    total = weight.sum(axis=0)
    known = total > 0
    mean = np.sum(weight * value, axis=0) / np.where(known, total, 1.0)
    return mean, np.where(known, 1.0 / np.sqrt(np.where(known, total, 1.0)), np.inf)


def _significant(
    x: Array, y: Array, err: Array, max_order: int, domain: tuple[float, float], fwhm: float
) -> tuple[Poly1, NDArray[np.bool_]]:
    keep = np.ones(len(x), dtype=bool)
    for _ in range(5):
        fit = _by_order(x[keep], y[keep], err[keep], max_order, domain, fwhm)
        pull = (y - fit(x)) / err
        scale = max(1.4826 * float(np.median(np.abs(pull[keep]))), 1.0)
        fresh = np.abs(pull) <= 4.0 * scale
        if fresh.sum() < 4 or np.array_equal(fresh, keep):
            break
        keep = fresh
    return fit, keep


def _by_order(x: Array, y: Array, err: Array, max_order: int, domain: tuple[float, float], fwhm: float) -> Poly1:
    """Raise the order while the fall of chi-square is worth it, chi-square taken relative to the scatter left."""
    fits = [fit1(x, y, order, weight=1.0 / err, domain=domain) for order in range(max_order + 1)]
    chi2 = [float(np.sum(((y - fit(x)) / err) ** 2)) for fit in fits]
    scale = max(chi2[-1] / max(len(x) - max_order - 1, 1), 1.0)
    best = 0
    for order in range(1, max_order + 1):
        if (chi2[best] - chi2[order]) / scale > 11.0 * (order - best):
            best = order
    if best < 2:
        return fits[best]
    ends = np.array([domain[0], domain[1]])
    anchored = np.concatenate([x, ends]), np.concatenate([y, fits[1](ends)])
    return fit1(*anchored, best, weight=1.0 / np.concatenate([err * math.sqrt(scale), [fwhm, fwhm]]), domain=domain)


def measured_width(chunks: Chunks, centre: Poly1, guess: float, largest: float) -> float:
    """Return the FWHM [pixel] of the object: least squares over a Moffat's width with one amplitude a chunk.

    The window grows with the width found, but not past the dip before a neighbour.
    """
    for _ in range(4):
        before, guess = guess, _width_within(chunks, centre, guess, largest)
        if abs(guess - before) < 0.03 * before:
            break
    return guess


def _width_within(chunks: Chunks, centre: Poly1, guess: float, largest: float) -> float:
    from scipy.optimize import minimize_scalar

    offset = np.arange(chunks.value.shape[1], dtype=np.float64)[None, :] - centre(chunks.x)[:, None]
    low, high = _free_reach(chunks, centre, guess)
    near = (offset >= -low) & (offset <= high)
    rows = near.any(axis=0)
    offset, value = offset[:, rows], chunks.value[:, rows]
    weight = np.where(np.isfinite(chunks.error) & near, 1.0 / chunks.error**2, 0.0)[:, rows]

    def chi2(log_width: float) -> float:
        shape = moffat(offset, math.exp(log_width), 3.0)
        norm = np.sum(weight * shape**2, axis=1)
        amplitude = np.sum(weight * shape * value, axis=1) / np.where(norm > 0, norm, 1.0)
        return float(np.sum(weight * (value - amplitude[:, None] * shape) ** 2))

    bounds = math.log(max(1.2, guess / 2.0)), math.log(max(min(largest, guess * 2.0), 1.3))
    return math.exp(float(minimize_scalar(chi2, bounds=bounds, method="bounded", options={"xatol": 0.01}).x))


def _free_reach(chunks: Chunks, centre: Poly1, fwhm: float) -> tuple[float, float]:
    """Return how far down and up [pixel] the object is alone: two FWHM, or to the dip before a neighbour."""
    reach = max(math.ceil(2.0 * fwhm), 3)
    places = np.arange(0.0, reach + 1.0)
    down, up = (_until_rise(*straightened(chunks, centre, sign * places), fwhm) for sign in (-1.0, 1.0))
    return down, up


def _until_rise(value: Array, error: Array, fwhm: float) -> float:
    start = max(round(0.5 * fwhm), 1)
    lowest = start
    for k in range(start, len(value)):
        if not math.isfinite(error[k]):
            break
        if value[k] < value[lowest]:
            lowest = k
        elif value[k] - value[lowest] > 5.0 * math.hypot(error[k], error[lowest]) and k - lowest >= 2:
            return float(lowest)
    return float(len(value) - 1)
