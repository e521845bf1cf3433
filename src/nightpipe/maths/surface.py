"""Least-squares surfaces: a cubic B-spline along u whose coefficients are polynomials in v, with a penalty.

``S(u, v) = sum_jk c_jk B_j(u) v^k``. It serves the sky (u along the dispersion, v along the slit) and the profile of a
star (u along the slit from its trace, v along the dispersion). The normal equations are banded, so a fit costs the
pixels once and little else (de Boor 2001, A Practical Guide to Splines, ch. XIV).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.kernels import band as bands
from nightpipe.kernels import splines

FloatArray = NDArray[np.float64]

DOMAIN = (-1.0, 1.0)
"""Where v runs."""


@dataclass(frozen=True)
class Surface:
    """A fitted surface: `breaks` (n + 1) along u, `coef` (n + 3, order + 1).

    `cov` ((n + 3) (order + 1), 4 (order + 1)) is the band of the covariance of the flattened coefficients,
    ``cov[j, d]`` that of j - d and j; or None.
    """

    breaks: FloatArray
    coef: FloatArray
    cov: FloatArray | None = None

    def __call__(self, u: ArrayLike, v: ArrayLike) -> FloatArray:
        """Return the value at (u, v), any shape; beyond the ends of the breaks the end values are held."""
        none = np.zeros((0, 0))
        open_ = np.zeros(self.coef.shape, dtype=bool)
        return splines.evaluate(splines.SplineFit(self.breaks, self.coef, none, DOMAIN, open_, 0.0, 0), u, v)

    def covariance(self, u: ArrayLike, terms: int | None = None) -> FloatArray:
        """Return the covariance of the polynomial's coefficients at `u` (n,), shape (n, order + 1, order + 1).

        `terms` limits it to the first so many.
        """
        if self.cov is None:
            raise ValueError("the surface was fitted without its covariance")
        first, basis = splines.basis(self.breaks, u)
        q = self.coef.shape[1]
        size = q if terms is None else min(terms, q)
        total = np.zeros((len(first), size, size))
        for a in range(4):
            for b in range(4):
                for k in range(size):
                    for m in range(size):
                        one, other = (first + a) * q + k, (first + b) * q + m
                        element = self.cov[np.maximum(one, other), np.abs(one - other)]
                        total[:, k, m] += basis[:, a] * basis[:, b] * element
        return total


@dataclass(frozen=True)
class Normal:
    """Normal equations of `q` = order + 1 powers: `band` ((n + 3) q, 4 q) and `right` ((n + 3) q)."""

    breaks: FloatArray
    band: FloatArray
    right: FloatArray
    q: int

    @property
    def diagonal(self) -> FloatArray:
        """Return the diagonal as (n + 3, q)."""
        return self.band[:, 0].reshape(-1, self.q)

    def plus(self, taken: Normal, rejected: Normal) -> Normal:
        """Return the equations with some points taken in and others left out, on the same breaks."""
        band = self.band + taken.band - rejected.band
        return Normal(self.breaks, band, self.right + taken.right - rejected.right, self.q)

    def gradient(self, coef: FloatArray) -> FloatArray:
        """Return half the negative gradient of chi-square at `coef` (n + 3, q): how the data pull at each."""
        vector = coef.ravel()
        times = self.band[:, 0] * vector
        for d in range(1, self.band.shape[1]):
            times[d:] += self.band[d:, d] * vector[:-d]
            times[:-d] += self.band[d:, d] * vector[d:]
        return (self.right - times).reshape(-1, self.q)

    def chi2(self, coef: FloatArray, total: float) -> float:
        """Return chi-square at `coef`, given the sum of weight times value squared."""
        return float(total - np.sum(coef * (self.right.reshape(-1, self.q) + self.gradient(coef))))

    def lowered(self, order: int) -> Normal:
        """Return the normal equations without the powers above `order`: the pixels need not be read again."""
        q, n = order + 1, len(self.right) // self.q
        old, new = self.band.reshape(n, self.q, -1), np.zeros((n, q, 4 * q))
        for step in range(4):
            for k in range(q):
                for m in range(q):
                    if step * q + k - m >= 0:
                        new[:, k, step * q + k - m] = old[:, k, step * self.q + k - m]
        right = self.right.reshape(n, self.q)[:, :q]
        return Normal(self.breaks, np.ascontiguousarray(new.reshape(n * q, -1)), right.ravel().copy(), q)


def normal_equations(
    u: FloatArray, v: FloatArray, value: FloatArray, weight: FloatArray, breaks: FloatArray, order: int
) -> Normal:
    """Return the normal equations of the points (flat arrays); `weight` is 1/sigma^2."""
    band, right = splines.normal_equations(u, value, weight, breaks, order, v, DOMAIN)
    return Normal(breaks, band, right, order + 1)


def penalised(normal: Normal, strength: FloatArray) -> FloatArray:
    """Return the band of the normal equations plus a penalty on second differences along u.

    `strength` (n + 3, q) multiplies the square of ``c[j-1] - 2 c[j] + c[j+1]`` at j. Where it is large a coefficient
    follows its neighbours; where it is small it only bridges gaps without data.
    """
    band, q = normal.band.copy(), normal.q
    stencil = (1.0, -2.0, 1.0)
    inner = strength[1:-1].ravel()
    for a in range(3):
        for b in range(a + 1):
            band[a * q : a * q + len(inner), (a - b) * q] += stencil[a] * stencil[b] * inner
    return band


def solve_surface(normal: Normal, strength: FloatArray, *, covariance: bool = False) -> Surface:
    """Return the surface that minimises chi-square plus penalty, with its covariance if asked for."""
    factored, _ = bands.factorise(penalised(normal, strength))
    coef = bands.solve(factored, normal.right).reshape(-1, normal.q)
    return Surface(normal.breaks, coef, bands.inverse_band(factored) if covariance else None)


def tiny_penalty(normal: Normal, share: float = 1e-7) -> FloatArray:
    """Return the weakest penalty that still bridges gaps: `share` of the median diagonal, power by power."""
    diagonal = normal.diagonal
    level = [float(np.median(column[column > 0])) if (column > 0).any() else 1.0 for column in diagonal.T]
    return np.broadcast_to(share * np.array(level), diagonal.shape).copy()
