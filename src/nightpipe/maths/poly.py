"""Chebyshev polynomials in one and two variables, with the covariance of their coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def scaled(x: ArrayLike, domain: tuple[float, float]) -> FloatArray:
    """Map `domain` onto [-1, 1]."""
    low, high = domain
    return (2.0 * np.asarray(x, dtype=np.float64) - (low + high)) / max(high - low, 1e-12)


@dataclass(frozen=True)
class Poly1:
    """A Chebyshev series in x: `coef` (order + 1), valid on `domain`, `cov` (order + 1, order + 1) or None."""

    coef: FloatArray
    domain: tuple[float, float]
    cov: FloatArray | None = None

    def __call__(self, x: ArrayLike) -> FloatArray:
        return np.asarray(chebyshev.chebval(scaled(x, self.domain), self.coef), dtype=np.float64)

    def sigma(self, x: ArrayLike) -> FloatArray:
        """Return the standard error of the value at `x`; zero where the covariance is unknown."""
        basis = chebyshev.chebvander(scaled(x, self.domain), len(self.coef) - 1)
        if self.cov is None:
            return np.zeros(basis.shape[:-1])
        return np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", basis, self.cov, basis), 0.0))

    def derivative(self) -> Poly1:
        """Return d/dx in the units of x."""
        low, high = self.domain
        coef = chebyshev.chebder(self.coef) * 2.0 / max(high - low, 1e-12)
        return Poly1(np.atleast_1d(coef), self.domain)

    def shifted(self, offset: float) -> Poly1:
        """Return the series plus a constant."""
        coef = self.coef.copy()
        coef[0] += offset
        return replace(self, coef=coef)


@dataclass(frozen=True)
class Poly2:
    """A Chebyshev series in (x, y): `coef` (order_x + 1, order_y + 1), `cov` of the flattened coefficients or None."""

    coef: FloatArray
    domain_x: tuple[float, float]
    domain_y: tuple[float, float]
    cov: FloatArray | None = None

    def __call__(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        u, v = np.broadcast_arrays(scaled(x, self.domain_x), scaled(y, self.domain_y))
        return np.asarray(chebyshev.chebval2d(u, v, self.coef), dtype=np.float64)

    def grid(self, nx: int, ny: int) -> FloatArray:
        """Return the values on all pixels, shape (ny, nx): separable, hence two small matrix products."""
        u = chebyshev.chebvander(scaled(np.arange(nx), self.domain_x), self.coef.shape[0] - 1)
        v = chebyshev.chebvander(scaled(np.arange(ny), self.domain_y), self.coef.shape[1] - 1)
        return np.asarray(v @ self.coef.T @ u.T, dtype=np.float64)

    def sigma(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return the standard error of the value at (x, y); zero where the covariance is unknown."""
        u, v = np.broadcast_arrays(scaled(x, self.domain_x), scaled(y, self.domain_y))
        degrees = (self.coef.shape[0] - 1, self.coef.shape[1] - 1)
        basis = chebyshev.chebvander2d(u, v, list(degrees))
        if self.cov is None:
            return np.zeros(basis.shape[:-1])
        return np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", basis, self.cov, basis), 0.0))

    def change(self, start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
        """Return by how much the value grows from one place (x, y) to another, and the standard error of that."""
        u, v = scaled([start[0], end[0]], self.domain_x), scaled([start[1], end[1]], self.domain_y)
        basis = chebyshev.chebvander2d(u, v, [size - 1 for size in self.coef.shape])
        step = basis[1] - basis[0]
        variance = 0.0 if self.cov is None else float(step @ self.cov @ step)
        return float(step @ self.coef.ravel()), float(np.sqrt(max(variance, 0.0)))

    def at_row(self, y: float) -> Poly1:
        """Return the series in x along the row `y`."""
        v = chebyshev.chebvander(scaled([y], self.domain_y), self.coef.shape[1] - 1)[0]
        return Poly1(np.asarray(self.coef @ v), self.domain_x)


def fit1(
    x: ArrayLike, value: ArrayLike, order: int, *, weight: ArrayLike | None = None, domain: tuple[float, float]
) -> Poly1:
    """Fit a Chebyshev series of `order` by weighted least squares.

    `weight` is 1/sigma; with it the covariance is absolute, without it the covariance is scaled by the residuals.
    """
    basis = chebyshev.chebvander(scaled(x, domain), order)
    coef, cov = _solve(basis, np.asarray(value, dtype=np.float64), weight)
    return Poly1(coef, domain, cov)


def fit2(
    x: ArrayLike,
    y: ArrayLike,
    value: ArrayLike,
    orders: tuple[int, int],
    *,
    weight: ArrayLike | None = None,
    domain_x: tuple[float, float],
    domain_y: tuple[float, float],
) -> Poly2:
    """Fit a two-dimensional Chebyshev series of `orders` (x, y); `weight` as in `fit1`."""
    basis = chebyshev.chebvander2d(scaled(x, domain_x), scaled(y, domain_y), list(orders))
    coef, cov = _solve(basis, np.asarray(value, dtype=np.float64), weight)
    return Poly2(coef.reshape(orders[0] + 1, orders[1] + 1), domain_x, domain_y, cov)


def _solve(basis: NDArray[Any], value: FloatArray, weight: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    w = np.ones(len(value)) if weight is None else np.asarray(weight, dtype=np.float64)
    coef, *_ = np.linalg.lstsq(basis * w[:, None], value * w, rcond=None)
    cov = np.linalg.pinv((basis * w[:, None]).T @ (basis * w[:, None]))
    if weight is None:
        dof = max(len(value) - len(coef), 1)
        cov = cov * float(np.sum((value - basis @ coef) ** 2)) / dof
    return np.asarray(coef, dtype=np.float64), np.asarray(cov, dtype=np.float64)
