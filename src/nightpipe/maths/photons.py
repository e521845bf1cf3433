"""How the variance of pixels follows from the light they receive.

Weights made from noisy counts prefer pixels that fluctuated downwards, and bias every mean low (Horne 1986, sec. II;
Naylor 1998). Fits of sky, profile and flux therefore take their variance from the model of the light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseLaw:
    """``var = floor + slope * light + flat * light^2``, all (ny, nx) or what broadcasts to it.

    `floor` is the variance without light; `slope` one in electrons, 1/flat behind a flat field; `flat` the relative
    variance of the flat.
    """

    floor: Array
    slope: Array
    flat: Array

    def variance(self, light: Array) -> Array:
        """Return the variance of pixels that receive `light` (ny, nx) on average."""
        return np.asarray(self.floor + self.slope * np.maximum(light, 0.0) + self.flat * np.square(light))

    def rows(self, cut: slice) -> NoiseLaw:
        """Return the law of some rows."""
        floor, slope, flat = (part[cut] if len(part) > 1 else part for part in (self.floor, self.slope, self.flat))
        return NoiseLaw(floor, slope, flat)


def law_from_counts(data: NDArray[np.float32], var: NDArray[np.float32], good: NDArray[np.bool_]) -> NoiseLaw:
    """Return how `var` was made from the counts `data`, row by row, where nobody kept the parts apart.

    The slope is the regression of differences between neighbours along x, to which the floor does not contribute; rows
    with too few pixels take the median of the others.
    """
    counts = np.maximum(data.astype(np.float64), 0.0)
    usable = good & (data > 0)
    pairs = usable[:, 1:] & usable[:, :-1]
    step, rise = np.diff(counts, axis=1) * pairs, np.diff(var.astype(np.float64), axis=1) * pairs
    square = np.sum(step * step, axis=1)
    enough = (pairs.sum(axis=1) >= 16) & (square > 0)
    slope = np.sum(step * rise, axis=1) / np.where(square > 0, square, 1.0)
    typical = float(np.median(slope[enough])) if enough.any() else 0.0
    slope = np.clip(np.where(enough, slope, typical), 0.0, None)[:, None]
    return NoiseLaw(_positive(var - slope * counts, good), slope, np.zeros((1, 1)))


def _positive(floor: Array, good: NDArray[np.bool_]) -> Array:
    """Keep the floor from vanishing where the regression overshot (pixels near saturation, uneven flats)."""
    known = floor[good & (floor > 0)]
    least = 0.2 * float(np.median(known)) if known.size else 1e-6
    return np.maximum(floor, max(least, 1e-6))
