"""A scene while it is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels.chorus import sung
from nightpipe.steps.spaxels.chromatic import Elements, Fit, elements_of
from nightpipe.steps.spaxels.forced import Forced
from nightpipe.steps.spaxels.pixels import Pixels
from nightpipe.steps.spaxels.stage import Priors, Stage

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SMOOTH = 15


@dataclass(frozen=True)
class Played:
    """Pixels with their present variances (`raw`: as extracted), those of lenslets that are `allowed`,
    those that no clipping rejected and are in `use`, and the last fits.
    """

    pixels: Pixels
    raw: FloatArray
    allowed: Bools
    use: Bools
    stage: Stage
    priors: Priors
    fit: Fit
    forced: Forced

    def elements(self, slices: int) -> Elements:
        """Return the used pixels in slices, each with what a lenslet would get of all of a body's light, or of the sky.

        A spectrum lost in noise is a poor template for itself: faint bodies' spectra are smoothed.
        """
        score = self.forced.score
        whole = sung(score._replace(gain=np.ones_like(score.gain)), self.forced.coef)
        place = np.rint(self.pixels.place).astype(np.int64)
        for number in (0, *range(2, len(whole))):
            whole[number] = _smooth(whole[number], place)
        return elements_of(self.pixels, whole * self.pixels.step, self.use, slices)


def _smooth(values: FloatArray, place: NDArray[np.int64]) -> FloatArray:
    """Return a spectrum seen by pixels at `place`, smoothed as its noise asks for, at least a twentieth of its level.

    The noise is that of differences between neighbours: lines count as noise, and are smoothed only where faint.
    """
    curve = np.bincount(place, values) / np.maximum(np.bincount(place), 1)
    level = max(float(np.median(np.abs(curve))), 1e-9)
    noise = 1.05 * float(np.median(np.abs(np.diff(curve)))) / level
    size = 1 if noise < 0.07 else 5 if noise < 0.2 else _SMOOTH
    even = np.convolve(np.pad(curve, size // 2, mode="edge"), np.ones(size) / size, mode="valid")
    return np.asarray(np.maximum(even, 0.05 * level if size > 1 else 1e-3 * level)[place])
