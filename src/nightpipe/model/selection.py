"""Which frames of a set serve, and why the others do not: the record that a person checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """The judgement on n frames, in the order of their times.

    `reasons` (n,) are empty for those taken. `level` is the median as a fraction of the full scale, both as read;
    `saturated` the fraction of saturated pixels; `gradient` how much the illumination changes over the frame against
    that of the others; `stars` the fraction of the field that shines brighter than they do (nan: not looked at).
    `thumbnails` (n, m, m) float32 are the frames over their medians.
    """

    names: tuple[str, ...]
    reasons: tuple[str, ...]
    level: FloatArray
    saturated: FloatArray
    gradient: FloatArray
    stars: FloatArray
    thumbnails: NDArray[np.float32]
    caveats: tuple[Caveat, ...] = ()

    @property
    def taken(self) -> tuple[str, ...]:
        """Return the names of the frames that serve."""
        return tuple(name for name, reason in zip(self.names, self.reasons, strict=True) if not reason)
