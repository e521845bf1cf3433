"""Smooth functions over a field: polynomials fitted without outliers, and what single places tell against them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import mad_std

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class FieldPoly:
    """A polynomial of total `degree` in (u, v), each scaled by `reach`: `coef` (terms, k) for k functions at once.

    `kept` (n,) are the points that were no outliers, `scatter` (k,) the robust rms of their residuals.
    """

    degree: int
    reach: float
    coef: FloatArray
    kept: Bools
    scatter: FloatArray

    def __call__(self, u: FloatArray, v: FloatArray) -> FloatArray:
        """Return the k functions at (u, v) (n,), shape (n, k)."""
        return np.asarray(terms(u / self.reach, v / self.reach, self.degree) @ self.coef)


def terms(u: FloatArray, v: FloatArray, degree: int) -> FloatArray:
    """Return the products of Chebyshev polynomials in u and v up to a total degree, (n, (degree+1)(degree+2)/2)."""
    from numpy.polynomial.chebyshev import chebvander

    one, other = chebvander(u, degree), chebvander(v, degree)
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack([one[:, i] * other[:, j] for i, j in pairs], axis=1)


def fit_field(
    u: FloatArray,
    v: FloatArray,
    values: FloatArray,
    degree: int,
    *,
    weight: FloatArray | None = None,
    use: Bools | None = None,
    clip: float = 5.0,
) -> FieldPoly:
    """Fit k functions with `values` (n, k) at (u, v) (n,); `weight` (n, k) is 1/sigma^2, outliers in any go.

    Raises ValueError where fewer points than terms are left.
    """
    values = values if values.ndim == 2 else values[:, None]
    reach = float(max(np.abs(u).max(), np.abs(v).max(), 1.0))
    basis = terms(u / reach, v / reach, degree)
    start = np.isfinite(values).all(axis=1) & (np.ones(len(u), dtype=bool) if use is None else use)
    kept = start
    coef, scatter = np.zeros((basis.shape[1], values.shape[1])), np.ones(values.shape[1])
    for _ in range(12):
        if kept.sum() < 1.2 * basis.shape[1]:
            raise ValueError(f"{int(kept.sum())} points for a polynomial of degree {degree}")
        coef = _solved(basis[kept], values[kept], None if weight is None else weight[kept])
        off = values - basis @ coef
        scatter = np.maximum(np.atleast_1d(mad_std(off[kept], axis=0)), 1e-12)
        inside = start & (np.abs(off) <= clip * scatter).all(axis=1)
        if np.array_equal(inside, kept):
            break
        kept = inside
    return FieldPoly(degree, reach, coef, kept, scatter)


def _solved(basis: FloatArray, values: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Return the coefficients (terms, k); normal equations do, since Chebyshev's products are all but orthogonal."""
    if weight is None:
        return np.asarray(np.linalg.solve(_normal(basis, basis), basis.T @ values))
    columns = []
    for k in range(values.shape[1]):
        weighted = basis * (weight[:, k] / weight[:, k].max())[:, None]
        columns.append(np.linalg.solve(_normal(weighted, basis), weighted.T @ values[:, k]))
    return np.stack(columns, axis=1)


def _normal(weighted: FloatArray, basis: FloatArray) -> FloatArray:
    matrix = weighted.T @ basis
    return np.asarray(matrix + 1e-10 * np.trace(matrix) / len(matrix) * np.eye(len(matrix)))


def drawn_to(
    values: FloatArray, normal: FloatArray, smooth: FloatArray, spread: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return coefficients between what the data say and a smooth prior, and their covariance.

    `values` (n, k) minimise the data's chi-square with the matrices `normal` (n, k, k); the prior is normal about
    `smooth` (n, k) with the covariance `spread` (k, k): the posterior mean of both (shrinkage, Efron & Morris 1973).
    """
    inverse = np.linalg.inv(spread)
    total = normal + inverse[None]
    right = np.einsum("nij,nj->ni", normal, values) + np.einsum("ij,nj->ni", inverse, smooth)
    return np.linalg.solve(total, right[..., None])[..., 0], np.linalg.inv(total)
