"""Fringes of the night sky in thinned detectors: their pattern from many frames, their strength in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.kernels.combine import clipped_mean
from nightpipe.maths.extract import background
from nightpipe.maths.objects import object_mask
from nightpipe.maths.robust import clipped
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.skyimage import SkyImage
from nightpipe.steps.detector.fit import name_of, same_shape

Bools = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


class BuildFringe(Step):
    """Combine frames of different fields, each less its smooth sky and over its level, into the pattern of fringes."""

    among: Literal["none", "night"] = parameter(
        "none", "whose images tell the fringes: all of the night through its filter; none: fringes are left in"
    )
    box: int = parameter(96, "mesh of the smooth sky: wider than the fringes", unit="pixel", ge=16)
    threshold: float = parameter(3.0, "objects are what exceeds so much in the smoothed image", unit="sigma", gt=0)
    grow: float = parameter(5.0, "widen objects by this", unit="pixel", ge=0)
    least: int = parameter(3, "fewest frames", ge=2)

    def run(self, frames: Sequence[Frame], objects: Sequence[Bools] | None = None) -> SkyImage:
        """Return the pattern, relative to the sky's level, of zero mean over a mesh.

        Bright fringes would be masked as objects where their amplitude exceeds the noise; so after a first pass the
        pattern is taken off before objects are searched again. Raises BadFrameError: too few frames, unlike shapes, or
        no sky above zero.
        """
        if len(frames) < self.least:
            raise BadFrameError(f"{self.least} frames for fringes", str(len(frames)), "skip fringes, or add frames")
        for frame in frames[1:]:
            same_shape(frames[0], frame, "frame with the same fringes")
        levels = [_level(frame) for frame in frames]
        if min(levels) <= 0:
            raise BadFrameError("frames with their sky", f"levels of {levels}", "fringes go before the sky does")
        known = [np.zeros(frames[0].shape, np.bool_)] * len(frames) if objects is None else list(objects)
        pattern = np.zeros(frames[0].shape, np.float32)
        for _ in range(2):
            pattern, var, unknown = self._pass(frames, levels, known, pattern)
        bits = np.where(unknown, np.uint32(Flag.NO_DATA), np.uint32(0))
        names = tuple(name_of(frame) for frame in frames)
        return SkyImage(pattern, var, bits, float(np.median(levels)), "fringes", names)

    def _pass(
        self, frames: Sequence[Frame], levels: Sequence[float], known: Sequence[Bools], pattern: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], Bools]:
        parts, masks, noise = [], [], []
        for frame, level, given in zip(frames, levels, known, strict=True):
            bad = ~frame.good | given
            flat = frame.data - np.float32(level) * pattern
            masks.append(bad | object_mask(flat, bad, box=self.box, sigma=self.threshold, grow=self.grow))
            smooth, _ = background(flat, masks[-1], self.box)
            parts.append((frame.data - smooth) / np.float32(level))
            noise.append(frame.var / np.float32(level) ** 2)
        made = clipped_mean(parts, masks, variance=noise, weights=np.square(levels) / np.mean(np.square(levels)))
        unknown = made.used == 0
        smooth, _ = background(made.value, unknown, self.box)
        return np.where(unknown, 0, made.value - smooth).astype(np.float32), np.square(made.error), unknown


class Defringe(Step):
    """Subtract the pattern of fringes, as strong as this image shows it."""

    box: int = parameter(96, "mesh of the smooth sky: that of the pattern", unit="pixel", ge=16)
    threshold: float = parameter(3.0, "objects are what exceeds so much in the smoothed image", unit="sigma", gt=0)
    grow: float = parameter(5.0, "widen objects by this", unit="pixel", ge=0)
    least: float = parameter(3.0, "leave fringes in that are less significant than this", unit="sigma", ge=0)

    def run(self, frame: Frame, fringe: SkyImage) -> Frame:
        """Return the frame without fringes.

        The amplitude is that of a robust linear fit of the pattern to the image less its smooth sky, objects masked;
        airglow changes within minutes, so the sky's level alone would not tell it. ``NPFRINGE`` [electron] keeps the
        amplitude, ``NPFRNGER`` its error; the level is the sky's where they agree. Raises BadFrameError: unlike shapes.
        """
        if fringe.data.shape != frame.shape:
            raise BadFrameError(f"fringes of {name_of(frame)}'s shape", str(fringe.data.shape), "make them anew")
        amplitude, error = self._amplitude(frame, fringe)
        header = frame.header | {"NPFRINGE": amplitude, "NPFRNGER": error}
        if amplitude < self.least * error:
            seen = f"{amplitude:.1f} +- {error:.1f} electron"
            text = f"{name_of(frame)}: no fringes of the pattern are seen ({seen}); left as is"
            return frame.but(header=header, caveats=(Caveat("fringe.none", text),))
        scale = np.float32(amplitude)
        data, var = frame.data - scale * fringe.data, frame.var + scale**2 * fringe.var
        return frame.but(data=data, var=var, header=header, caveats=fringe.caveats)

    def _amplitude(self, frame: Frame, fringe: SkyImage) -> tuple[float, float]:
        bad = ~frame.good | (fringe.mask != 0)
        amplitude, error, level = 0.0, float("inf"), max(_level(frame), 0.0)
        for guess in (level, None):  # first with the sky's level, so that fringes are not masked as objects
            flat = frame.data - np.float32(amplitude if guess is None else guess) * fringe.data
            hidden = bad | object_mask(flat, bad, box=self.box, sigma=self.threshold, grow=self.grow)
            smooth, _ = background(flat, hidden, self.box)
            use = ~hidden
            amplitude, error = _fit((frame.data - smooth)[use], fringe.data[use], frame.var[use])
        return amplitude, error


def _fit(data: NDArray[np.float32], pattern: NDArray[np.float32], var: NDArray[np.float32]) -> tuple[float, float]:
    """Return the amplitude of `pattern` in `data` and its error, outliers clipped."""
    values, shape, weight = (np.asarray(part, np.float64) for part in (data, pattern, 1 / np.maximum(var, 1e-12)))
    keep: Bools = np.ones(values.size, np.bool_)
    amplitude, power = 0.0, 0.0
    for _ in range(4):
        power = float((weight * shape**2)[keep].sum())
        if power <= 0:
            return 0.0, float("inf")
        amplitude = float((weight * shape * values)[keep].sum() / power)
        keep = clipped((values - amplitude * shape) * np.sqrt(weight), clip=4.0)
    return amplitude, power**-0.5


def _level(frame: Frame) -> float:
    good = frame.data[frame.good]
    return float(np.median(good[:: max(1, good.size // 300_000)])) if good.size else 0.0
