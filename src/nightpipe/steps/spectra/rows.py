"""One spectrum from a few rows of a frame: what line fitting starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.poly import Poly1
from nightpipe.maths.typical import MANY, typical_row
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.frame import Frame

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """`flux`, `error` (n,) of a typical pixel of the rows; `usable` where it may be fitted, `saturated` where not."""

    flux: FloatArray
    error: FloatArray
    usable: Bools
    saturated: Bools


def collapsed(frame: Frame, low: int, high: int) -> Row:
    """Return the median of rows `low` ... `high` - 1, pixels that are flagged left out."""
    mask = frame.mask[low:high]
    saturated = np.mean((mask & np.uint32(Flag.SATURATED)) != 0, axis=0) > MANY
    bad = (mask & np.uint32(UNUSABLE)) != 0
    return Row(*typical_row(frame.data[low:high], frame.var[low:high], bad), saturated)


def slit_rows(frame: Frame, lower: Poly1, upper: Poly1) -> tuple[int, int]:
    """Return the rows (first, last + 1) that lie inside the slit at all columns."""
    x = np.linspace(0.0, frame.shape[1] - 1.0, 50)
    low = int(np.ceil(max(float(np.max(lower(x))), 0.0)))
    high = int(np.floor(min(float(np.min(upper(x))), frame.shape[0] - 1.0))) + 1
    return low, max(high, low + 1)
