"""Bad pixels, found on the night's own calibrations: hot in the bias or dark, wrong or unsteady in the flats."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.robust import mad_std, running_median
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, oriented_as
from nightpipe.steps.detector.fit import same_shape

Bools = NDArray[np.bool_]


COLUMN = 3.0
"""A column or row is bad from so many times the noise of one pixel of the master."""


class BadPixels(Step):
    """Find bad pixels and columns from masters of bias and dark and from flats of two levels of light."""

    version: ClassVar[int] = 3
    hot: float = parameter(12.0, "a pixel or column of bias or dark that stands out by more is bad", unit="sigma", gt=1)
    response: float = parameter(0.5, "a pixel of the flats that differs from its surroundings by more is bad", gt=0)
    ratio: float = parameter(0.05, "a pixel whose ratio between flats differs by more, and significantly, is bad", gt=0)
    sigma: float = parameter(6.0, "what significantly means", unit="sigma", gt=1)
    size: int = parameter(15, "width of what counts as a pixel's surroundings along a row", unit="pixel", ge=5)

    def run(self, masters: tuple[Frame, ...], flats: tuple[Frame, ...]) -> Frame:
        """Return a map: data 1 where good and 0 where bad, with `BAD` in the mask.

        `masters` are combined biases and darks; `flats` single or combined lamp frames, the first two of which are
        divided by each other. Either may be empty, not both.

        Raises
        ------
        BadFrameError
            There is no frame, or they have different shapes.
        """
        frames = (*masters, *flats)
        if not frames:
            raise BadFrameError("a bias, dark or flat to find bad pixels on", "none", "leave this step out")
        for frame in frames[1:]:
            same_shape(frames[0], frame, "calibration", units=False)
        bad = np.zeros(frames[0].shape, dtype=np.bool_)
        for frame in masters:
            bad |= self._hot(frame)
        for frame in flats:
            bad |= self._dead(frame)
        if len(flats) > 1:
            bad |= self._unsteady(flats[0], flats[1])
        zero = np.zeros(frames[0].shape, dtype=np.float32)
        mask = np.where(bad, np.uint32(Flag.BAD), np.uint32(0))
        return Frame((~bad).astype(np.float32), zero, mask, "", frames[0].exposure, frames[0].detector)

    def _hot(self, frame: Frame) -> Bools:
        """Return pixels, and whole columns and rows, above or below their surroundings by too much for noise.

        A row of thousands of pixels shows steps of a tenth of an electron with certainty, and the bias takes them out:
        bad is what stands out of a pixel's own noise as well.
        """
        found = np.zeros(frame.shape, dtype=np.bool_)
        for axis in (0, 1):
            rest = frame.data - running_median(frame.data, self.size, axis=1 - axis)
            scale = max(float(mad_std(rest)), 1e-6)
            found |= np.abs(rest) > self.hot * scale
            middle = np.median(rest, axis=axis)
            error = max(float(mad_std(middle)), 1.25 * scale / np.sqrt(rest.shape[axis]))
            found |= np.expand_dims(np.abs(middle) > max(self.hot * error, COLUMN * scale), axis)
        return np.asarray(found & frame.good)

    def _dead(self, frame: Frame) -> Bools:
        """Return the pixels of a flat that are not like their surroundings, beyond what little light does."""
        level = running_median(frame.data, self.size, axis=1)
        off = np.abs(frame.data - level)
        error = self.sigma * np.sqrt(np.maximum(frame.var, 0.0))
        return np.asarray(frame.good & (level > 0) & (off > self.response * level) & (off > error))

    def _unsteady(self, one: Frame, two: Frame) -> Bools:
        """Return the pixels whose ratio between the two flats is not that of their surroundings."""
        use = one.good & two.good & (one.data > 0) & (two.data > 0)
        a, b = np.where(use, one.data, 1), np.where(use, two.data, 1)
        ratio = surroundings_ratio(a / b, self.size)
        error = np.sqrt(one.var / a**2 + two.var / b**2)
        return np.asarray(use & (np.abs(ratio - 1) > self.ratio) & (np.abs(ratio - 1) > self.sigma * error))


class MaskBad(Step):
    """Flag the pixels that a map calls bad."""

    version: ClassVar[int] = 2

    def run(self, frame: Frame, bad: Frame) -> Frame:
        """Return the frame with `BAD` wherever the map `bad` has it, the map turned as the frame is.

        Raises
        ------
        BadFrameError
            The two have different shapes.
        """
        bad = bad if frame.detector is None else oriented_as(bad, frame.detector)
        same_shape(frame, bad, "map of bad pixels", units=False)
        return frame.flagged((bad.mask & np.uint32(Flag.BAD)) != 0, Flag.BAD)


def surroundings_ratio(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Return each pixel over the median of its surroundings along the row; 1 where that is not positive."""
    level = running_median(image, size, axis=1)
    return np.divide(image, level, where=level > 0, out=np.ones_like(image))
