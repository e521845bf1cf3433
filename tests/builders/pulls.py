"""Pulls, (measured - truth) / sigma, and the bounds that their number sets."""

from __future__ import annotations

import numpy as np

QUANTILE = 3.29
"""Two-sided 99.9 % of a normal variable."""


def bounds(n: int) -> tuple[float, float]:
    """Return by how much mean and standard deviation of `n` independent unit normals may stray."""
    return QUANTILE / np.sqrt(n), QUANTILE / np.sqrt(2.0 * n)


def whitened(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return errors that are independent unit normals if `covariance` is right."""
    return np.linalg.solve(np.linalg.cholesky(covariance), error)


def told(name: str, pulls: np.ndarray) -> str:
    """Return the pulls in one line."""
    return f"{name}: mean {pulls.mean():+.3f}, standard deviation {pulls.std():.3f} of {len(pulls)}"
