"""What measuring on an image needs: the sky taken off, the noise of blank sky, what may be measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.extract import background
from nightpipe.maths.strips import marked
from nightpipe.model.flags import UNUSABLE, Flag
from nightpipe.model.frame import Frame
from nightpipe.model.stack import Stack

Image = NDArray[np.float32]
Bools = NDArray[np.bool_]
BLIND = UNUSABLE & ~Flag.SATURATED
"""Bits that hide a source; saturated pixels show one."""


@dataclass(frozen=True)
class Picture:
    """An image ready to be measured, arrays (ny, nx).

    `data` has its background `sky` removed, in the frame's unit; `var` is the variance of blank sky, to which light
    adds `slope` times itself. `bad` pixels are not measured, `blind` ones show nothing at all (a saturated pixel is
    bad, not blind). Divided by `time` [s], fluxes are per second; the variance of sums over pixels is `covariance`
    times what independent pixels would have. `scatter` is the measured noise of blank sky over the stated one.
    """

    data: Image
    sky: Image
    var: Image
    slope: float
    mask: NDArray[np.uint32]
    bad: Bools
    blind: Bools
    time: float
    covariance: float
    scatter: float

    def variance(self, light: Image | None = None) -> Image:
        """Return the variance (ny, nx), with the photons of `light` (default: of the data)."""
        shining = np.maximum(self.data if light is None else light, np.float32(0))
        shining *= np.float32(self.slope)
        shining += self.var
        return shining


def picture(image: Frame | Stack, box: int) -> Picture:
    """Return `image` ready to be measured, its background from meshes of `box` pixels."""
    bits = image.mask
    bad, blind = marked(bits, UNUSABLE), marked(bits, BLIND)
    sky, rms = background(image.data, bad, box)
    data = image.data - sky
    var = blank_variance(image.var, bad, box)
    slope = _slope(image, data, var, bad)
    some = var.ravel()[::97][~bad.ravel()[::97]]
    stated = float(np.sqrt(np.median(some))) if some.size else 1.0
    covariance = image.covariance if isinstance(image, Stack) else 1.0
    return Picture(
        data, sky, var, slope, bits, bad, blind, _time(image), covariance, rms / stated if stated > 0 else 1.0
    )


def blank_variance(var: Image, bad: Bools, box: int, step: int = 4) -> Image:
    """Return the variance that blank sky has: a smooth map through `var` that sources do not lift."""
    if min(var.shape) < 16 * step:
        step = 1
    small, _ = background(var[::step, ::step], bad[::step, ::step], max(box // step, 8))
    least = float(np.min(var, where=~bad, initial=np.inf))
    np.maximum(small, np.float32(max(least, 1e-30) if np.isfinite(least) else 1.0), out=small)
    wide = np.empty_like(var)
    for first in range(step):
        lines = np.repeat(small[: len(wide[first::step])], step, axis=1)
        wide[first::step] = lines[:, : var.shape[1]]
    return wide


def _slope(image: Frame | Stack, data: Image, var: Image, bad: Bools) -> float:
    """Return by how much a unit of light raises the variance: known in electrons, else seen in bright pixels."""
    if isinstance(image, Frame) and image.unit == "electron":
        return 1.0 if image.photon_var is None else float(np.median(image.photon_var[::7, ::7]))
    bright = ~bad & (data > 10 * np.sqrt(var))
    if np.count_nonzero(bright) < 50:
        return 0.0
    return max(float(np.median((image.var[bright] - var[bright]) / data[bright])), 0.0)


def _time(image: Frame | Stack) -> float:
    if isinstance(image, Frame) and image.unit == "electron" and image.exposure is not None:
        return image.exposure.exptime if image.exposure.exptime > 0 else 1.0
    return 1.0
