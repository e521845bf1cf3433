"""One spectrum from a few rows of a frame: what line fitting starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.poly import Poly1
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.frame import Frame

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
MANY = 0.3
"""A column is unusable, or saturated, when more than this share of its pixels is."""


@dataclass(frozen=True)
class Row:
    """`flux`, `error` (n,) of a typical pixel of the rows; `usable` where it may be fitted, `saturated` where not."""

    flux: FloatArray
    error: FloatArray
    usable: Bools
    saturated: Bools


def collapsed(frame: Frame, low: int, high: int) -> Row:
    """Return the median of rows `low` ... `high` - 1, pixels that are flagged left out.

    The error is that of a median of normal noise; where the frame has no variance it is the scatter between rows.
    Unusable columns get a huge error, so that nothing hangs on them.
    """
    data = frame.data[low:high].astype(np.float64)
    mask = frame.mask[low:high]
    saturated = np.mean((mask & np.uint32(Flag.SATURATED)) != 0, axis=0) > MANY
    bad = (mask & np.uint32(UNUSABLE)) != 0
    count = np.sum(~bad, axis=0)
    usable = (count > 0) & (np.mean(bad, axis=0) <= MANY)
    flux = _median(np.where(bad & usable[None, :], np.nan, data)) if (bad & usable[None, :]).any() else np.median(data, axis=0)
    error = 1.2533 * np.sqrt(_variance(frame, low, high, data) / np.maximum(count, 1))
    return Row(flux, np.where(usable, error, 1e3 * max(float(np.max(np.abs(flux))), 1.0)), usable, saturated)


def _median(data: FloatArray) -> FloatArray:
    return np.asarray(np.nanmedian(data, axis=0), dtype=np.float64)


def _variance(frame: Frame, low: int, high: int, data: FloatArray) -> FloatArray:
    """Return the variance of one pixel of each column."""
    var = np.median(frame.var[low:high].astype(np.float64), axis=0)
    if np.any(var > 0):
        return np.maximum(var, 0.2 * float(np.median(var[var > 0])))
    scatter = 1.4826 * np.median(np.abs(data - np.median(data, axis=0)), axis=0)
    return np.maximum(scatter, 0.5 * float(np.median(scatter)) + 1e-6) ** 2


def slit_rows(frame: Frame, lower: Poly1, upper: Poly1) -> tuple[int, int]:
    """Return the rows (first, last + 1) that lie inside the slit at all columns."""
    x = np.linspace(0.0, frame.shape[1] - 1.0, 50)
    low = int(np.ceil(max(float(np.max(lower(x))), 0.0)))
    high = int(np.floor(min(float(np.min(upper(x))), frame.shape[0] - 1.0))) + 1
    return low, max(high, low + 1)
