"""A stack of images on one grid of the sky."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.model.exposure import Exposure, Header
from nightpipe.model.frame import Image, Mask
from nightpipe.model.wcs import Wcs


@dataclass(frozen=True)
class Stack:
    """Images resampled once onto the grid of `wcs` and combined; north up, east left unless asked otherwise.

    `data` (ny, nx) [electron/s] on the flux scale of the reference zero point; `var` its variance per pixel, `weight`
    the sum of weights, `count` (ny, nx) uint8 how many frames went in, `mask` uint32 `Flag` bits. Resampling makes
    neighbouring pixels covary: `correlation` (2k+1, 2k+1) is the mean correlation of a pixel with those around it, so
    the variance of a sum over many pixels is `covariance` (the sum of `correlation`) times the sum of `var`. `zp` is
    the reference zero point (nan: none). `frames` names what went in and `left_out` what did not and why.
    """

    data: Image
    var: Image
    mask: Mask
    weight: Image
    count: NDArray[np.uint8]
    wcs: Wcs
    exptime: float
    zp: float
    correlation: NDArray[np.float64]
    covariance: float
    frames: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    exposure: Exposure | None = None
    header: Header = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
