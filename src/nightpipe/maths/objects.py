"""Where an image shows more than its sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nightpipe.maths.extract import background
from nightpipe.maths.robust import mad_std

Bools = NDArray[np.bool_]
Image = NDArray[np.float32]


def object_mask(data: NDArray[Any], bad: Bools, *, box: int, sigma: float, grow: float, smooth: float = 1.5) -> Bools:
    """Return where objects stand out of `data` (ny, nx), widened by `grow` [pixel].

    Pixels count as an object's where the image, less its background in meshes of `box` and smoothed by a Gaussian of
    `smooth` [pixel], exceeds `sigma` times its own scatter.
    """
    sky, _ = background(np.ascontiguousarray(data, np.float32), bad, box)
    rest = np.where(bad, 0, data - sky)
    light = ndimage.gaussian_filter(rest, smooth)
    good = light[~bad]
    if not good.size:
        return bad.copy()
    scatter = float(mad_std(good[:: max(1, good.size // 200_000)]))
    found = light > sigma * scatter
    return np.asarray(ndimage.distance_transform_edt(~found) <= grow) if found.any() else found
