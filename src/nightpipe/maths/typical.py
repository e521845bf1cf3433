"""The typical row of a block of rows: a median that flagged pixels do not enter, with its error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import masked_median

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
MANY = 0.3
"""A column is unusable when more than this share of its pixels is."""


def typical_row(
    data: NDArray[np.float32], var: NDArray[np.float32], bad: Bools
) -> tuple[FloatArray, FloatArray, Bools]:
    """Return flux, error and usability of the columns of `data`, `var`, `bad` (rows, columns).

    The error is that of a median of normal noise; without variance it is the scatter between rows. Unusable columns get
    a huge error, so that nothing hangs on them.
    """
    values = data.astype(np.float64)
    count = np.sum(~bad, axis=0)
    usable = (count > 0) & (bad.mean(axis=0) <= MANY)
    holes = bad & usable[None, :]
    flux = masked_median(values, ~holes, axis=0)[0] if holes.any() else np.median(values, axis=0)
    error = 1.2533 * np.sqrt(_variance(values, var) / np.maximum(count, 1))
    huge = 1e3 * max(float(np.max(np.abs(flux))), 1.0)
    return np.asarray(flux), np.where(usable, error, huge), usable


def _variance(values: FloatArray, var: NDArray[np.float32]) -> FloatArray:
    """Return the variance of one pixel of each column."""
    typical = np.median(var.astype(np.float64), axis=0)
    if np.any(typical > 0):
        return np.maximum(typical, 0.2 * float(np.median(typical[typical > 0])))
    scatter = 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    return np.asarray(np.maximum(scatter, 0.5 * float(np.median(scatter)) + 1e-6) ** 2)
