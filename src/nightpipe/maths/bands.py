"""Symmetric positive-definite banded systems: solution and the part of the inverse that lies within the band."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def factor(band: FloatArray) -> FloatArray:
    """Return the Cholesky factor of a symmetric matrix.

    `band` (bandwidth, n) holds the lower triangle, ``band[i - j, j] = A[i, j]``. Raises numpy's LinAlgError where the
    matrix is not positive definite.
    """
    from scipy.linalg import cholesky_banded  # noqa: PLC0415

    return np.asarray(cholesky_banded(band, lower=True), dtype=np.float64)


def solve(factored: FloatArray, right: FloatArray) -> FloatArray:
    """Return the solution of ``A x = right`` from the factor of A."""
    from scipy.linalg import cho_solve_banded  # noqa: PLC0415

    return np.asarray(cho_solve_banded((factored, True), right), dtype=np.float64)


def inverse_band(factored: FloatArray) -> FloatArray:
    """Return the elements of the inverse within the band, in the form of the band itself.

    Takahashi's recursion from the last column to the first (Takahashi, Fagan & Chin 1973; Erisman & Tinney 1975): the
    cost is linear in n, where the whole inverse would be quadratic in memory.
    """
    width, n = factored.shape
    result = np.zeros_like(factored)
    window = np.zeros((width - 1, width - 1))  # inverse of rows and columns j+1 ... j+width-1
    for j in range(n - 1, -1, -1):
        low = factored[1:, j] / factored[0, j]
        beside = -window @ low
        corner = 1.0 / factored[0, j] ** 2 - low @ beside
        result[0, j], result[1:, j] = corner, beside
        window[1:, 1:] = window[:-1, :-1].copy()
        window[0, 0] = corner
        window[0, 1:] = window[1:, 0] = beside[:-1]
    last = np.arange(n)[None, :] + np.arange(width)[:, None] >= n
    result[last] = 0.0
    return result
