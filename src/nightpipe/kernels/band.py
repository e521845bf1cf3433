"""Symmetric positive definite band matrices: Cholesky factor, solution, and the band of the inverse.

A band of width b is stored as ``band[j, d]`` = element (j - d, j), d < b.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.arrays import F64
from nightpipe.kernels.build import kernel

_TINY = 1e-13  # a pivot below this part of its diagonal has lost all its digits


def factorise(band: F64) -> tuple[F64, NDArray[np.bool_]]:
    """Return the factor L, ``factor[j, d]`` = L[j, j - d], and which pivots the matrix does not determine.

    Those are given a pivot that fixes the unknown at zero; the caller decides what to do about them.
    """
    factor, weak = np.zeros_like(band), np.zeros(len(band), dtype=np.bool_)
    _cholesky(band, factor, weak)
    return factor, weak


def solve(factor: F64, right: F64) -> F64:
    """Return the solution of L L^T x = right."""
    result = right.copy()
    _substitute(factor, result)
    return result


def inverse_band(factor: F64) -> F64:
    """Return the elements of the inverse within the band, same storage.

    The recursion of Takahashi needs no others (Erisman & Tinney 1975, CACM 18, 177): n b^2 operations.
    """
    result = np.zeros_like(factor)
    _invert(factor, result)
    return result


@kernel
def _cholesky(band: F64, factor: F64, weak: NDArray[np.bool_]) -> None:
    size, width = band.shape
    for j in range(size):
        for d in range(min(width - 1, j), -1, -1):
            i = j - d
            total = band[j, d]
            for k in range(max(0, j - width + 1, i - width + 1), i):
                total -= factor[j, j - k] * factor[i, i - k]
            if d > 0:
                factor[j, d] = total / factor[i, 0]
            else:
                weak[j] = not total > _TINY * band[j, 0]
                factor[j, 0] = 1e150 if weak[j] else np.sqrt(total)


@kernel
def _substitute(factor: F64, x: F64) -> None:
    size, width = factor.shape
    for j in range(size):
        for d in range(1, min(width - 1, j) + 1):
            x[j] -= factor[j, d] * x[j - d]
        x[j] /= factor[j, 0]
    for j in range(size - 1, -1, -1):
        for d in range(1, min(width - 1, size - 1 - j) + 1):
            x[j] -= factor[j + d, d] * x[j + d]
        x[j] /= factor[j, 0]


@kernel
def _invert(factor: F64, inverse: F64) -> None:
    size, width = factor.shape
    for i in range(size - 1, -1, -1):
        last = min(width - 1, size - 1 - i)
        for d in range(last, -1, -1):
            total = 1.0 / factor[i, 0] if d == 0 else 0.0
            for k in range(1, last + 1):
                a, b = (k, d) if k > d else (d, k)
                total -= factor[i + k, k] * inverse[i + a, a - b]
            inverse[i + d, d] = total / factor[i, 0]
