"""Running medians that do not shrink at the ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def running_median(values: FloatArray, width: int) -> FloatArray:
    """Return the median over an odd `width` of neighbours; the ends are continued by their own mirror image."""
    half = min(width // 2, max(len(values) - 1, 0))
    if half == 0:
        return values.copy()
    padded = np.pad(values, half, mode="reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=-1))
