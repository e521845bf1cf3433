"""A smooth curve through the points of a response, no stiffer and no looser than the points support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

TOLERANCE = 1.05
SWING = 0.05
"""So far beyond two neighbouring points, and half their difference, a curve may pass between them."""
DENSEST = 6.0
"""Knots crowd by no more than this."""


class Crowd(NamedTuple):
    """Where knots crowd: the `share` (n,) of them up to each `place` (n,); `sure` leaves two points to every piece."""

    place: FloatArray
    share: FloatArray
    sure: bool = False


@dataclass(frozen=True)
class Curve:
    """A cubic B-spline: `knots` with their repeats, `coef`, its covariance `cov`; `used` points survived the clipping.

    `pieces` is what cross-validation chose, `scatter` the robust one of the used points, `left_out` the rms of points
    left out in units of their errors.
    """

    knots: FloatArray
    coef: FloatArray
    cov: FloatArray
    used: Bools
    pieces: int
    scatter: float
    left_out: float

    def __call__(self, x: ArrayLike) -> FloatArray:
        return np.asarray(_design(np.asarray(x, dtype=np.float64), self.knots) @ self.coef)

    def sigma(self, x: ArrayLike) -> FloatArray:
        """Return the standard error of the curve at `x`."""
        basis = _design(np.asarray(x, dtype=np.float64), self.knots)
        return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", basis, self.cov, basis), 0.0))


def fit_curve(
    x: FloatArray,
    y: FloatArray,
    error: FloatArray,
    *,
    pieces: int = 0,
    most: int = 80,
    clip: float = 4.0,
    iterations: int = 5,
) -> Curve:
    """Fit a cubic spline through points (x, y) with `error`, outliers beyond `clip` sigma left out in turn.

    `pieces` fixes the number of polynomial pieces; 0 lets cross-validation choose up to `most`: the simplest whose
    error on points left out is within a few per cent of the least. (Within one standard error of it, the usual rule,
    is too smooth for the ripples of dichroics.) Knots are quantiles of the used points, so that no piece is without
    any, or crowd where the points bend most (de Boor 2001, chapter XII), if that predicts points left out better: a
    filter's edge needs many, all else few. Where the curve then swings between its points, every piece is given two of
    them. Raises ValueError below five points.
    """
    if len(x) < 5:
        raise ValueError("a response needs five points")
    rules = pieces, most, clip, iterations
    curve = _fitted(x, y, error, *rules, sure=False)
    return _fitted(x, y, error, *rules, sure=True) if _swings(curve, x, y) else curve


def _swings(curve: Curve, x: FloatArray, y: FloatArray) -> bool:
    """Tell whether a curve leaves what two neighbouring points that it was fitted to span, and half as much beside."""
    order = np.argsort(x[curve.used])
    place, value = x[curve.used][order], y[curve.used][order]
    at = place[:-1] + np.linspace(0.1, 0.9, 9)[:, None] * np.diff(place)
    between = curve(at.ravel()).reshape(at.shape)
    low, high = np.minimum(value[:-1], value[1:]), np.maximum(value[:-1], value[1:])
    room = SWING + 0.5 * (high - low)
    return bool(np.any((between < low - room) | (between > high + room)))


def _fitted(
    x: FloatArray,
    y: FloatArray,
    error: FloatArray,
    pieces: int,
    most: int,
    clip: float,
    iterations: int,
    *,
    sure: bool,
) -> Curve:
    used = np.ones(len(x), dtype=bool)
    chosen, crowd = _cross_validated(x, y, error, most, pieces, sure=sure)
    for _ in range(iterations):
        knots, coef, cov = _spline(x[used], y[used], error[used], chosen, crowd)
        pull = (y - _design(x, knots) @ coef) / error
        scale = max(1.4826 * float(np.median(np.abs(pull[used]))), 1.0)
        kept = np.abs(pull) <= clip * scale
        if np.array_equal(kept, used) or kept.sum() < max(5, chosen + 4):
            break
        used = kept
    chosen, crowd = _cross_validated(x[used], y[used], error[used], most, pieces, sure=sure)
    knots, coef, cov = _spline(x[used], y[used], error[used], chosen, crowd)
    scatter = 1.4826 * float(np.median(np.abs(y[used] - _design(x[used], knots) @ coef)))
    left_out = _prediction_error(x[used], y[used], error[used], chosen, crowd)
    return Curve(knots, coef, cov, used, chosen, scatter, float(np.sqrt(left_out)))


def _design(x: FloatArray, knots: FloatArray) -> FloatArray:
    from scipy.interpolate import BSpline

    inside = np.clip(x, knots[3], np.nextafter(knots[-4], knots[3]))
    return np.asarray(BSpline.design_matrix(inside, knots, 3).toarray())


def _spline(
    x: FloatArray, y: FloatArray, error: FloatArray, pieces: int, crowd: Crowd | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return knots, coefficients and covariance; the latter grows with chi squared where the errors were too small."""
    knots = _knots(x, pieces, crowd)
    basis = _design(x, knots) / error[:, None]
    inverse = np.linalg.pinv(basis.T @ basis, hermitian=True)
    coef = inverse @ (basis.T @ (y / error))
    freedom = max(len(x) - len(coef), 1)
    chi2 = float(np.sum((y / error - basis @ coef) ** 2)) / freedom
    return knots, np.asarray(coef), np.asarray(inverse * max(chi2, 1.0), dtype=np.float64)


def _knots(x: FloatArray, pieces: int, crowd: Crowd | None) -> FloatArray:
    """Return knots with their repeats: quantiles of `x`, or of `x` drawn towards where `crowd` says."""
    share = np.linspace(0.0, 1.0, pieces + 1)[1:-1]
    inner = np.quantile(x, share) if crowd is None else np.interp(share, crowd.share, crowd.place)
    inner = _supported(x, inner) if crowd is not None and crowd.sure else inner
    return np.concatenate([np.full(4, x.min()), inner, np.full(4, x.max())])


def _supported(x: FloatArray, inner: FloatArray) -> FloatArray:
    """Return those of the inner knots that leave two points to every piece."""
    before, kept, last = np.searchsorted(np.sort(x), inner), [], 0
    for knot, count in zip(inner, before, strict=True):
        if last + 2 <= count <= len(x) - 2:
            kept.append(knot)
            last = count
    return np.array(kept, dtype=np.float64)


def _crowding(x: FloatArray, y: FloatArray) -> Crowd | None:
    """Return where knots should crowd: their density goes with the root of the bend between points, smoothed.

    No more than `DENSEST` times as many as elsewhere, so that every piece keeps points. None where too few points tell.
    """
    from scipy.ndimage import gaussian_filter1d, median_filter

    if len(x) < 24:
        return None
    order = np.argsort(x)
    place, value = x[order] + 1e-6 * np.arange(len(x)), median_filter(y[order], 3, mode="nearest")
    slope = gaussian_filter1d(np.gradient(value, place), 1.0)
    bend = gaussian_filter1d(np.sqrt(np.abs(np.gradient(slope, place))), 2.0)
    density = np.clip(bend / max(float(np.median(bend)), 1e-12), 1.0, DENSEST)
    total = np.cumsum(density)
    return Crowd(place, (total - total[0]) / (total[-1] - total[0]))


def _cross_validated(
    x: FloatArray, y: FloatArray, error: FloatArray, most: int, pieces: int, *, sure: bool
) -> tuple[int, Crowd | None]:
    """Return the number of pieces, that given if any, and where knots crowd."""
    most = int(np.clip((len(x) - 4) // 3, 1, most))
    trials = np.array([pieces]) if pieces else np.unique(np.round(np.geomspace(1, most, 40)).astype(int))
    crowd = _crowding(x, y)
    ways = [None] if crowd is None else [None, crowd._replace(sure=sure)]
    means = [[_prediction_error(x, y, error, int(count), way) for count in trials] for way in ways]
    best = int(np.argmin([min(row) * (1.0 if k == 0 else TOLERANCE) for k, row in enumerate(means)]))
    chosen = np.array(means[best])
    return int(trials[np.argmax(chosen <= TOLERANCE * chosen.min())]), ways[best]


def _prediction_error(
    x: FloatArray, y: FloatArray, error: FloatArray, pieces: int, crowd: Crowd | None = None
) -> float:
    """Return the robust mean square of the pulls of points left out, two neighbours together, knots kept.

    For a linear fit with hat matrix H the residuals of a left-out pair are (1 - H_pair)^-1 times those of the fit
    (Hastie, Tibshirani & Friedman 2009, The Elements of Statistical Learning, eq. 7.52, for pairs). Squares beyond
    sixteen times the typical one are cut there, lest one outlier choose the stiffness.
    """
    order = np.argsort(x)
    x, pull = x[order], (y / error)[order]
    knots = _knots(x, pieces, crowd)
    span, _ = np.linalg.qr(_design(x, knots) / error[order][:, None])
    residual = pull - span @ (span.T @ pull)
    pairs = np.arange(1, len(x) - 2, 2)[:, None] + np.arange(2)  # the ends stay: without them the spline has no support
    rest = np.eye(2) - np.einsum("pik,pjk->pij", span[pairs], span[pairs])
    rest += 1e-9 * np.eye(2)
    squares = np.linalg.solve(rest, residual[pairs][..., None]) ** 2
    return float(np.mean(np.minimum(squares, 16.0 * 2.2 * np.median(squares))))
