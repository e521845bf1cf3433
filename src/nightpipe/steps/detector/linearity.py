"""Which pixels lie above the detector's limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.step import Step, parameter
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame


class Linearity(Step):
    """Flag saturated and nonlinear pixels, and the neighbours into which saturated ones spill."""

    grow: int = parameter(1, "flag this many pixels around a saturated one", unit="pixel", ge=0, le=20)

    def run(self, frame: Frame) -> Frame:
        """Return the frame with `SATURATED` and `NONLINEAR` where the detector's limits [adu] are exceeded.

        A limit of 0 means that none is known. Frames without a detector are returned as they are.
        """
        chip = frame.detector
        if chip is None:
            return frame
        saturated = grown(above(frame, chip.saturation), self.grow)
        return frame.flagged(saturated, Flag.SATURATED).flagged(above(frame, chip.linear_to), Flag.NONLINEAR)


def above(frame: Frame, limit: float) -> NDArray[np.bool_]:
    """Return where the data exceed `limit` [unit of the frame]; nowhere if the limit is 0, unknown."""
    return np.asarray(frame.data >= limit) if limit > 0 else np.zeros(frame.shape, dtype=np.bool_)


def grown(where: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return `where` grown by `pixels` in all eight directions."""
    if pixels == 0 or not where.any():
        return where
    rows, columns = np.nonzero(where)
    around, (ny, nx) = where.copy(), where.shape
    for dy in range(-pixels, pixels + 1):
        for dx in range(-pixels, pixels + 1):
            around[np.clip(rows + dy, 0, ny - 1), np.clip(columns + dx, 0, nx - 1)] = True
    return around
