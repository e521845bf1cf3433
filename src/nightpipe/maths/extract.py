"""Background and sources of an image, by the SExtractor algorithms as `sep` has them: the one place that knows it.

Bertin & Arnouts 1996, A&AS 117, 393; Barbary 2016, JOSS 1, 58.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError

Image = NDArray[np.float32]
Bools = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

MERGED = 1
"""`sep`'s bit of a source that was split from a neighbour."""
TRUNCATED = 2
"""`sep`'s bit of a source cut by the edge of the image."""


@dataclass(frozen=True)
class Found:
    """Detections, each (n,): positions, extent of the isophote (`a`, `b` [pixel], `theta` [radian]), `bits`."""

    x: FloatArray
    y: FloatArray
    a: FloatArray
    b: FloatArray
    theta: FloatArray
    peak: FloatArray
    area: FloatArray
    bits: NDArray[np.int64]
    segments: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return int(self.x.size)


def background(data: Image, bad: Bools, box: int, median: int = 3) -> tuple[Image, float]:
    """Return the smooth background of `data` (ny, nx) and its global noise.

    The mode of each mesh of `box` pixels, sources clipped, median-filtered over `median` meshes, then a bicubic spline.
    """
    import sep

    found = sep.Background(_native(data), mask=np.ascontiguousarray(bad), bw=box, bh=box, fw=median, fh=median)
    return np.asarray(found.back(dtype=np.float32)), float(found.globalrms)


def roughness(data: Image, bad: Bools, box: int) -> Image:
    """Return the scatter of the background of `data` (ny, nx) from place to place: in meshes, sources clipped."""
    import sep

    found = sep.Background(_native(data), mask=np.ascontiguousarray(bad), bw=box, bh=box)
    return np.asarray(found.rms(dtype=np.float32))


def matched(fwhm: float) -> Image:
    """Return a Gaussian kernel of this full width at half maximum [pixel] whose sum is one."""
    sigma = max(fwhm, 1.2) / 2.3548
    half = max(1, round(1.6 * sigma))  # farther out lies 1 per cent of the significance and half the work
    axis = np.arange(-half, half + 1)
    line = np.exp(-0.5 * (axis / sigma) ** 2)
    shape = np.outer(line, line)
    return (shape / shape.sum()).astype(np.float32)


def find(
    ratio: Image,
    bad: Bools,
    threshold: float,
    kernel: Image,
    *,
    area: int = 3,
    levels: int = 32,
    contrast: float = 0.005,
    segments: bool = False,
) -> Found:
    """Return the sources in `ratio` (ny, nx), an image over its noise, above `threshold` after `kernel` was applied.

    `threshold` counts sigma of the filtered image: for a matched kernel, the significance of a star.

    Raises
    ------
    BadFrameError
        More pixels lie above the threshold than any field of stars has: the noise is wrong, or the sky was left in.
    """
    import sep

    sep.set_extract_pixstack(max(300_000, ratio.size // 4))  # the library's own switch, before every use
    sep.set_sub_object_limit(4096)
    noise = float(np.sqrt(np.sum(np.square(kernel, dtype=np.float64))))
    try:
        found = sep.extract(
            _native(ratio), threshold * noise, mask=np.ascontiguousarray(bad), minarea=area,
            filter_kernel=kernel, filter_type="conv", deblend_nthresh=levels, deblend_cont=contrast,
            clean=True, segmentation_map=segments,
        )  # fmt: skip
    except Exception as error:  # the library raises the bare class
        if "full" not in str(error) and "overflow" not in str(error):
            raise
        raise BadFrameError("an image in which sources stand out of the background", str(error),
                            "subtract the sky first, or raise Detect.threshold") from error  # fmt: skip
    table, labels = found if segments else (found, None)
    names = ("x", "y", "a", "b", "theta", "peak", "npix")
    x, y, a, b, theta, peak, pixels = (np.asarray(table[name], np.float64) for name in names)
    return Found(x, y, a, b, theta, peak, pixels, np.asarray(table["flag"], np.int64), labels)


def circles(
    data: Image, var: Image, bad: Bools, x: FloatArray, y: FloatArray, radius: float | FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return sums in circles of `radius` [pixel] and their variances; bad pixels count as the mean of the good ones."""
    import sep

    total, error, _ = sep.sum_circle(_native(data), x, y, radius, var=_native(var), mask=bad, subpix=5)
    return np.asarray(total, np.float64), np.square(np.asarray(error, np.float64))


def kron(
    data: Image, var: Image, bad: Bools, found: tuple[FloatArray, ...], scale: float, least: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return sums in Kron's ellipses, their variances, and the ellipse's radius in units of (a, b).

    `found` are x, y, a, b, theta; the radius is `scale` times Kron's (Kron 1980, ApJS 43, 305), not below `least`.
    """
    import sep

    x, y, a, b, theta = (np.ascontiguousarray(part, np.float64) for part in found)
    theta, b = np.clip(theta, -np.pi / 2, np.pi / 2), np.minimum(a, b)  # the library refuses a rounding error more
    image = _native(data)
    radius = np.asarray(sep.kron_radius(image, x, y, a, b, theta, 6.0, mask=bad)[0], np.float64)
    radius = np.maximum(scale * np.where(np.isfinite(radius), radius, 0.0), least)
    total, error, _ = sep.sum_ellipse(image, x, y, a, b, theta, radius, var=_native(var), mask=bad, subpix=1)
    return np.asarray(total, np.float64), np.square(np.asarray(error, np.float64)), radius


def _native(data: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(data, dtype=np.float32)
