"""Scattered light: a smooth surface of cubic B-splines over the detector, from normal equations column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
STIFF = 1e-4
"""Penalty on second differences, relative to the data's weight: it only decides where there are hardly any data."""


@dataclass(frozen=True)
class Basis:
    """Cubic B-splines on even knots: place i (n,) has the terms ``first[i]`` ... + 3 of `count`, `value` (n, 4)."""

    first: NDArray[np.int64]
    value: FloatArray
    count: int

    @property
    def full(self) -> FloatArray:
        """Return all values (n, count)."""
        out = np.zeros((self.first.size, self.count))
        np.put_along_axis(out, self.first[:, None] + np.arange(4), self.value, axis=1)
        return out

    def __getitem__(self, rows: slice) -> Basis:
        """Return the basis at some of the places."""
        return Basis(self.first[rows], self.value[rows], self.count)


def cubic_basis(n: int, spacing: float) -> Basis:
    """Return the basis for places 0 ... n - 1, knots about `spacing` apart."""
    cells = max(round((n - 1) / spacing), 1)
    place = np.arange(n) * cells / max(n - 1, 1)
    first = np.minimum(place.astype(np.int64), cells - 1)
    t = place - first
    value = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return Basis(first, np.stack(value, axis=1) / 6.0, cells + 3)


@dataclass(frozen=True)
class Scatter:
    """A surface: `coef` (terms along x, along y), and the `covariance` of all (raveled), where it was asked for."""

    coef: FloatArray
    along: Basis
    across: Basis
    covariance: FloatArray | None = None

    def image(self) -> NDArray[np.float32]:
        """Return the transposed image (nx, ny) of the surface."""
        part = self.along.full.astype(np.float32) @ self.coef.astype(np.float32)
        return np.asarray(part @ self.across.full.T.astype(np.float32))

    def variance(self, every: int) -> FloatArray:
        """Return the variance of the surface at every so many columns and rows, beginning with the first."""
        if self.covariance is None:
            return np.zeros((-(-self.along.first.size // every), -(-self.across.first.size // every)))
        x, y = self.along[slice(None, None, every)].full, self.across[slice(None, None, every)].full
        nx, ny = self.coef.shape
        held = self.covariance.reshape(nx, ny, nx, ny)
        part = np.einsum("ai,ak,ijkl->ajl", x, x, held, optimize=True)
        return np.asarray(np.einsum("bj,bl,ajl->ab", y, y, part, optimize=True))


def fit_scatter(matrix: FloatArray, side: FloatArray, along: Basis, across: Basis, *, covariance: bool) -> Scatter:
    """Solve for the surface that all columns share.

    `matrix` (nx, m, m) and `side` (nx, m) are the normal equations of each column's own m terms along y; term i along x
    takes part in each column by the value of its spline there.
    """
    from scipy.linalg import cho_factor, cho_solve

    nx, m = side.shape
    full = along.full
    normal = np.zeros((along.count, m, along.count, m))
    rows = matrix.reshape(nx, m * m)
    for lag in range(4):
        pair = full[:, : along.count - lag] * full[:, lag:]
        block = (pair.T @ rows).reshape(-1, m, m)
        for i, part in enumerate(block):
            normal[i, :, i + lag, :] = part
            normal[i + lag, :, i, :] = part.T
    flat = normal.reshape(along.count * m, -1)
    flat += _penalty(along.count, m, STIFF * float(np.mean(np.diag(flat))) + 1e-30)
    factor = cho_factor(flat, lower=True, check_finite=False)
    coef = cho_solve(factor, (full.T @ side).ravel(), check_finite=False)
    inverse = cho_solve(factor, np.eye(flat.shape[0]), check_finite=False) if covariance else None
    return Scatter(coef.reshape(along.count, m), along, across, inverse)


def _penalty(nx: int, ny: int, strength: float) -> FloatArray:
    """Return the penalty on second differences in both directions, and a millionth of it on the values themselves."""
    x, y = (np.diff(np.eye(n), 2, axis=0) if n > 2 else np.zeros((1, n)) for n in (nx, ny))
    rough = np.kron(x.T @ x, np.eye(ny)) + np.kron(np.eye(nx), y.T @ y)
    return np.asarray(strength * (rough + 1e-6 * np.eye(nx * ny)))
