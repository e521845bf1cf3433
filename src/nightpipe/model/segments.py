"""Which pixels of an image belong to which source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.model.wcs import Wcs


@dataclass(frozen=True)
class Segments:
    """`labels` (ny, nx) int32: the row of the catalogue, from 1, that a pixel belongs to; 0: none, or a detection that
    the catalogue does not hold. `wcs` places the pixels.
    """

    labels: NDArray[np.int32]
    wcs: Wcs
