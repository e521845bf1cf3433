"""Smooth curves through noisy points, as smooth as the points themselves say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.maths.robust import mad_std

FloatArray = NDArray[np.float64]


class Smooth(NamedTuple):
    """A fitted curve at the points: `value`, its variance `var`, the effective degrees of freedom `freedom`."""

    value: FloatArray
    var: FloatArray
    freedom: float


def penalised_spline(
    value: ArrayLike, weight: ArrayLike | None = None, *, knots: int = 24, clip: float = 4.0
) -> Smooth:
    """Fit a cubic P-spline to equally spaced points, its stiffness chosen by generalised cross-validation.

    `value` (n,), `weight` (n,) proportional to 1/variance, `knots` intervals at most. Points without structure give a
    straight line, structured ones a curve of up to `knots` + 3 degrees of freedom. Outliers beyond `clip` sigma lose
    their weight by Tukey's bisquare. Eilers & Marx 1996, Statistical Science 11, 89 (P-splines); Craven & Wahba 1979,
    Numerische Mathematik 31, 377 (cross-validation).
    """
    points = np.asarray(value, dtype=np.float64)
    given = np.ones(len(points)) if weight is None else np.asarray(weight, dtype=np.float64)
    basis = _basis(len(points), knots)
    robust = np.ones(len(points))
    for _ in range(4):
        smooth = _fit(basis, points, given * robust)
        robust = _bisquare((points - smooth.value) * np.sqrt(given), clip)
    return smooth


def _basis(n: int, knots: int) -> FloatArray:
    """Return the cubic B-splines on even knots at the points, (n, intervals + 3): four of them are not zero at each."""
    intervals = max(min(knots, n // 4), 1)
    at = np.arange(n) * (intervals / max(n - 1, 1))
    first = np.minimum(at.astype(np.intp), intervals - 1)
    f = at - first
    pieces = ((1 - f) ** 3, (3 * f - 6) * f**2 + 4, ((3 - 3 * f) * f + 3) * f + 1, f**3)
    basis = np.zeros((n, intervals + 3))
    for k, piece in enumerate(pieces):
        basis[np.arange(n), first + k] = piece / 6
    return basis


def _fit(basis: FloatArray, points: FloatArray, weight: FloatArray) -> Smooth:
    """Diagonalise penalty against data once; every stiffness then costs nothing (Ruppert et al. 2003, appendix B)."""
    from scipy.linalg import eigh

    k = basis.shape[1]
    second = np.diff(np.eye(k), n=2, axis=0)
    gram = (basis * weight[:, None]).T @ basis
    gram += np.eye(k) * (1e-10 * np.trace(gram) / k + 1e-300)
    bend, vectors = eigh(second.T @ second, gram)
    bend = np.maximum(bend, 0.0)
    rotated = basis @ vectors
    amplitude = rotated.T @ (weight * points)
    used = float((weight > 0).sum())
    square = float(np.sum(weight * points**2))
    stiff = np.array([0.0, *np.logspace(-4, 12, 49) / max(float(np.median(bend[2:])), 1e-300)])
    shrinks = 1 / (1 + stiff[:, None] * bend)
    shrink = shrinks[np.argmin(_cross_validation(shrinks, amplitude, square, used))]
    fitted = rotated @ (shrink * amplitude)
    freedom = float(shrink.sum())
    scatter = float(np.sum(weight * (points - fitted) ** 2)) / max(used - freedom, 1.0)
    return Smooth(fitted, scatter * np.sum((rotated * shrink) ** 2, axis=1), freedom)


def _cross_validation(shrinks: FloatArray, amplitude: FloatArray, square: float, used: float) -> FloatArray:
    """Return the score of each row of `shrinks` (stiffness, coefficient)."""
    rest = square - (2 * shrinks - shrinks**2) @ amplitude**2
    return np.asarray(np.maximum(rest, 1e-300) / np.maximum(used - shrinks.sum(axis=1), 1e-3) ** 2)


def _bisquare(residual: FloatArray, clip: float) -> FloatArray:
    """Return Tukey's weights; all 1 where they would leave too few points."""
    scale = float(mad_std(residual)) or float(np.std(residual)) or 1.0
    weight = np.square(np.maximum(1 - np.square(residual / (1.5 * clip * scale)), 0.0))
    return weight if (weight > 0).sum() > len(weight) / 2 else np.ones(len(weight))
