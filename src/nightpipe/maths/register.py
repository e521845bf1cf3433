"""By how much one image of a field is shifted against another, told by all that both show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import mad_std

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
SMOOTH = 8.0
"""What is broader [pixel] than this tells little of a shift, and is taken out."""
CLIP = 20.0
"""Stars count by no more than so many sigma: a bright one must not decide alone."""
SIGNIFICANT = 8.0
"""How far the peak of the correlation stands out, in units of its scatter around."""


def image_shift(image: NDArray[Any], other: NDArray[Any], good: Bools, reach: int) -> tuple[float, float] | None:
    """Return the shift (dx, dy) [pixel] that lays `other` on `image`, both (ny, nx); None where the two do not tell.

    What stands at (x, y) in `other` stands at (x + dx, y + dy) in `image`. Cross-correlation of what is small in both,
    `good` pixels alone, within `reach` pixels; the peak is that of the parabolas through its neighbours.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    shape = [next_fast_len(size + 2 * reach, real=True) for size in image.shape]
    one, two = (rfft2(_fine(part, good), shape) for part in (image, other))
    whole = irfft2(one * np.conj(two), shape)
    lags = np.arange(-reach, reach + 1)
    near = np.asarray(whole[np.ix_(lags, lags)])
    j, i = (int(k) for k in np.unravel_index(np.argmax(near), near.shape))
    if j in (0, 2 * reach) or i in (0, 2 * reach):
        return None
    apart = np.hypot(*np.meshgrid(lags - lags[i], lags - lags[j])) > reach / 2
    around = near[apart]
    if near[j, i] - np.median(around) < SIGNIFICANT * float(mad_std(around)):
        return None
    return float(lags[i]) + _vertex(near[j, i - 1 : i + 2]), float(lags[j]) + _vertex(near[j - 1 : j + 2, i])


def _fine(image: NDArray[Any], good: Bools) -> FloatArray:
    """Return what is small in an image, in sigma and clipped; 0 where it is not good."""
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(good.astype(np.float64), SMOOTH)
    filled = np.where(good, image, 0.0).astype(np.float64)
    rest = filled - gaussian_filter(filled, SMOOTH) / np.maximum(weight, 1e-3)
    sigma = float(mad_std(rest[good])) if good.any() else 0.0
    return np.where(good, np.clip(rest / sigma, -3.0, CLIP), 0.0) if sigma > 0 else np.zeros(image.shape)


def _vertex(values: FloatArray) -> float:
    """Return where the parabola through three neighbours peaks, from the middle one."""
    below, here, above = (float(value) for value in values)
    bend = below - 2 * here + above
    return 0.5 * (below - above) / bend if bend < 0 else 0.0
