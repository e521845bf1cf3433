"""The flat field of an imager: one number a pixel, from the dome or from a twilight sky with stars in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.robust import mad_std
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.steps.detector.badpixels import surroundings_ratio
from nightpipe.steps.detector.fit import name_of, same_shape

Bools = NDArray[np.bool_]


class MaskStars(Step):
    """Flag the stars in flats of the twilight sky, wings and trails included, by their absence from the others."""

    threshold: float = parameter(3.0, "light above the others' that counts as a star", unit="sigma", gt=1)
    smooth: int = parameter(5, "side of the box that gathers faint light", unit="pixel", ge=1, le=51)
    grow: int = parameter(5, "pixels around what was found that are flagged too", unit="pixel", ge=0, le=100)
    large: int = parameter(128, "structure larger than this is no star", unit="pixel", ge=16)

    def run(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """Return the frames with `REJECTED` set under stars; fewer than three stay as they are.

        Each frame over the median of all, at one level, is 1 but for stars and a smooth change of the illumination.

        Raises
        ------
        BadFrameError
            The frames have different shapes.
        """
        if len(frames) < 3:
            return frames
        for frame in frames[1:]:
            same_shape(frames[0], frame, "flat")
        levels = [_level(frame) for frame in frames]
        usual = np.median([frame.data / level for frame, level in zip(frames, levels, strict=True)], axis=0)
        usual = np.where(usual > 0, usual, np.float32(1))
        return tuple(
            frame.flagged(self._stars(frame.data / level / usual, frame.good), Flag.REJECTED)
            for frame, level in zip(frames, levels, strict=True)
        )

    def _stars(self, ratio: NDArray[Any], good: Bools) -> Bools:
        from scipy.ndimage import binary_dilation, uniform_filter

        filled = np.where(good, ratio, np.float32(1)).astype(np.float32)
        gathered = uniform_filter(filled, self.smooth, mode="nearest")
        rest = gathered - uniform_filter(np.clip(filled, 0.9, 1.1), self.large, mode="nearest")
        found = rest > max(self.threshold * float(mad_std(rest[::4, ::4])), 1e-6)
        if self.grow == 0 or not found.any():
            return np.asarray(found)
        # single peaks of the noise are no stars: what is small before growing is dropped
        found = uniform_filter(found.astype(np.float32), 3, mode="constant") > 0.5
        return np.asarray(binary_dilation(found, iterations=self.grow))


class NormaliseImageFlat(Step):
    """Divide a combined flat by its level: what is left is the response of pixels and optics."""

    dead: float = parameter(0.5, "a pixel whose response differs from its surroundings' by more is bad", gt=0)
    least: float = parameter(0.3, "a pixel with less of the typical light is not corrected", gt=0, lt=1)
    size: int = parameter(15, "width of what counts as a pixel's surroundings", unit="pixel", ge=5)

    def run(self, frame: Frame) -> Frame:
        """Return the flat, unit ``""`` and median 1; pixels with too little light get 1 and `NO_FLAT`, odd ones `BAD`.

        Raises
        ------
        BadFrameError
            The combined flat has no light.
        """
        level = _level(frame)
        if not level > 0:
            raise BadFrameError("a flat with light in it", f"a median of {level:.0f} in {name_of(frame)}", "drop it")
        value = (frame.data / level).astype(np.float32)
        dark = ~(value > self.least) | ~frame.good
        odd = frame.good & (np.abs(surroundings_ratio(value, self.size) - 1) > self.dead)
        mask = frame.mask & np.uint32(Flag.BAD | Flag.NO_DATA)
        mask |= np.where(dark, np.uint32(Flag.NO_FLAT), np.uint32(0)) | np.where(odd, np.uint32(Flag.BAD), np.uint32(0))
        return frame.but(
            data=np.where(dark, np.float32(1), value),
            var=np.where(dark, np.float32(0), frame.var / np.float32(level) ** 2).astype(np.float32),
            mask=mask.astype(np.uint32),
            unit="",
            read_var=None,
            photon_var=None,
        )


def _level(frame: Frame) -> float:
    return float(np.median(frame.data[frame.good])) if frame.good.any() else 0.0
