"""Least-squares surfaces: a cubic B-spline along u whose coefficients are polynomials in v.

``S(u, v) = sum_jk c_jk B_j(u) L_k(v)`` with Legendre polynomials L_k. It serves the sky (u along the dispersion, v along the
slit) and the profile of a star (u along the slit from its trace, v along the dispersion). The normal equations are
banded, so a fit costs the pixels once and little else (de Boor 2001, A Practical Guide to Splines, ch. XIV).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray

from nightpipe.maths import bands

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """A fitted surface: `breaks` (n + 1) along u, `coef` (n + 3, order + 1).

    `cov` (4, order + 1, n + 3, order + 1) holds the covariances of ``coef[j + d, k']`` and ``coef[j, k]`` at
    ``cov[d, k', j, k]``, or is None. v runs from -1 to 1.
    """

    breaks: FloatArray
    coef: FloatArray
    cov: FloatArray | None = None

    def __call__(self, u: ArrayLike, v: ArrayLike) -> FloatArray:
        """Return the value at (u, v); beyond the ends of the breaks the outermost polynomials are held."""
        j, basis = bspline_basis(self.breaks, np.asarray(u, dtype=np.float64))
        tilt = legendre.legvander(np.asarray(v, dtype=np.float64), self.coef.shape[1] - 1)
        return np.asarray(sum(basis[d] * np.sum(self.coef[j + d] * tilt, axis=-1) for d in range(4)))

    def covariance(self, u: ArrayLike) -> FloatArray:
        """Return the covariance of the polynomial's coefficients at `u`, shape (..., order + 1, order + 1)."""
        if self.cov is None:
            raise ValueError("the surface was fitted without its covariance")
        j, basis = bspline_basis(self.breaks, np.asarray(u, dtype=np.float64))
        q = self.coef.shape[1]
        total = np.zeros((*j.shape, q, q))
        for a in range(4):
            for b in range(a + 1):
                block = (basis[a] * basis[b])[..., None, None] * np.moveaxis(self.cov[a - b][:, j + b, :], 0, -2)
                total += block if a == b else block + np.swapaxes(block, -1, -2)
        return total


def bspline_basis(breaks: FloatArray, u: FloatArray) -> tuple[NDArray[np.intp], list[FloatArray]]:
    """Return the interval of each u and the four cubic B-splines that do not vanish there (Cox and de Boor).

    Spline number ``interval + d`` has the value ``basis[d]``. Values of u beyond the breaks are moved to the ends.
    """
    u = np.clip(u, breaks[0], breaks[-1])
    interval = np.clip(np.searchsorted(breaks, u, side="right") - 1, 0, len(breaks) - 2)
    t = np.concatenate([np.repeat(breaks[0], 3), breaks, np.repeat(breaks[-1], 3)])
    basis = [np.ones_like(u)]
    for degree in range(1, 4):
        basis = _raised(basis, degree, t, interval + 3, u)
    return interval, basis


def _raised(
    basis: list[FloatArray], degree: int, t: FloatArray, left: NDArray[np.intp], u: FloatArray
) -> list[FloatArray]:
    raised = [np.zeros_like(u) for _ in range(degree + 1)]
    for r, value in enumerate(basis):
        above, below = t[left + r + 1], t[left + r + 1 - degree]
        share = value / (above - below)
        raised[r] += (above - u) * share
        raised[r + 1] += (u - below) * share
    return raised


@dataclass(frozen=True)
class Normal:
    """Normal equations: `band` (4 q, (n + 3) q) lower triangle, `right` ((n + 3) q), for n intervals, q = order + 1."""

    breaks: FloatArray
    band: FloatArray
    right: FloatArray
    q: int

    @property
    def diagonal(self) -> FloatArray:
        """Return the diagonal as (n + 3, q)."""
        return self.band[0].reshape(-1, self.q)


def normal_equations(
    u: FloatArray, v: FloatArray, value: FloatArray, weight: FloatArray, breaks: FloatArray, order: int
) -> Normal:
    """Return the normal equations of the points (flat arrays); `weight` is 1/sigma^2."""
    q, n = order + 1, len(breaks) - 1
    interval, basis = bspline_basis(breaks, u)
    tilt = legendre.legvander(v, order).T
    size = (n + 3) * q
    band, right = np.zeros((4 * q, size)), np.zeros(size)
    terms = [(d * q + k, basis[d] * tilt[k]) for d in range(4) for k in range(q)]
    start = np.arange(n) * q
    for a, first in terms:
        weighted = first * weight
        right[start + a] += np.bincount(interval, weighted * value, minlength=n)
        for b, second in terms[: a + 1]:
            band[a - b, start + b] += np.bincount(interval, weighted * second, minlength=n)
    return Normal(breaks, band, right, q)


def penalised(normal: Normal, strength: FloatArray) -> FloatArray:
    """Return the band of the normal equations plus a penalty on second differences along u.

    `strength` (n + 3, q) multiplies the square of ``c[j-1] - 2 c[j] + c[j+1]`` at j. Where it is large a coefficient
    follows its neighbours; where it is small it only bridges gaps without data.
    """
    band, q = normal.band.copy(), normal.q
    size = band.shape[1]
    stencil = (1.0, -2.0, 1.0)
    inner = strength[1:-1]
    for a in range(3):
        for b in range(a + 1):
            at = np.arange(len(inner) * q) + b * q
            band[(a - b) * q, at[at < size]] += stencil[a] * stencil[b] * inner.ravel()
    return band


def solve_surface(normal: Normal, strength: FloatArray, *, covariance: bool = False) -> Surface:
    """Return the surface that minimises chi-square plus penalty, with its covariance if asked for."""
    factored = bands.factor(penalised(normal, strength))
    coef = bands.solve(factored, normal.right).reshape(-1, normal.q)
    cov = _blocks(bands.inverse_band(factored), normal.q) if covariance else None
    return Surface(normal.breaks, coef, cov)


def _blocks(inverse: FloatArray, q: int) -> FloatArray:
    """Rearrange the band of the inverse as ``cov[d, k', j, k]``."""
    count = inverse.shape[1] // q
    cov = np.zeros((4, q, count, q))
    for d in range(4):
        for k in range(q):
            for other in range(q):
                offset = d * q + other - k
                if offset >= 0:
                    cov[d, other, :, k] = inverse[offset, k::q]
                else:  # the upper triangle of the diagonal block
                    cov[d, other, :, k] = inverse[-offset, other::q]
    return cov


def tiny_penalty(normal: Normal, share: float = 1e-7) -> FloatArray:
    """Return the weakest penalty that still bridges gaps: `share` of the median diagonal."""
    diagonal = normal.diagonal
    level = float(np.median(diagonal[diagonal > 0])) if (diagonal > 0).any() else 1.0
    return np.full(diagonal.shape, share * level)
