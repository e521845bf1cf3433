"""The pedestal of each amplifier from its overscan; then trim, assemble, orient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.maths.robust import line_clipped_mean, mad_std
from nightpipe.maths.smooth import penalised_spline
from nightpipe.maths.strips import by_strips, marked
from nightpipe.model.detector import Amplifier, Detector, Section
from nightpipe.model.exposure import Header
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, RawFrame, finite
from nightpipe.steps.detector.sections import (
    amplifier_map,
    check,
    cut,
    inside,
    light_box,
    overlap,
    overscan_lines,
)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Pedestal:
    """One amplifier's pedestal [adu] and its variance at the places along its axis, `first` being the first place.

    `lines` of the overscan's lines were used; `rms` [adu] is their scatter about the pedestal.
    """

    value: FloatArray
    var: FloatArray
    first: int
    lines: int
    rms: float

    def over(self, section: Section, axis: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return pedestal and variance, to be broadcast over `section`; beyond the overscan's ends they are held."""
        start, stop = section[2:] if axis == "y" else section[:2]
        place = np.clip(np.arange(start, stop) - self.first, 0, len(self.value) - 1)
        value, var = self.value[place], self.var[place]
        return (value[:, None], var[:, None]) if axis == "y" else (value[None, :], var[None, :])


class Overscan(Step):
    """Subtract each amplifier's pedestal, a smooth robust model of its overscan; trim, assemble and orient."""

    knots: int = parameter(24, "most knots of the smooth pedestal; 0 takes one level per amplifier", ge=0, le=200)
    skip: int = parameter(0, "leave out this many overscan lines on the side of the light", unit="pixel", ge=0)
    clip: float = parameter(4.0, "leave out overscan values and lines beyond this", unit="sigma", gt=1)
    impossible: float = parameter(4.0, "values beyond this many saturation levels were not read properly", gt=1)

    def run(self, raw: RawFrame) -> Frame:
        """Return the image in adu above the pedestal, `var` that of the pedestal.

        Lines next to the light hold what the transfer left behind, or light itself: they are found and left out.
        Amplifiers without overscan keep their pedestal (caveat ``overscan.none``). The pedestals go into the header as
        ``NPPEDk`` [adu]. Pixels of the detector's bad sections are flagged, as are those whose value cannot be.

        Raises
        ------
        BadFrameError
            The array does not hold the sections of the detector's description.
        """
        check(raw)
        box = light_box(raw.detector)
        data = cut(raw.data, box).astype(np.float32)
        var = np.zeros_like(data)
        header: Header = {}
        for number, amplifier in enumerate(raw.detector.amplifiers):
            if amplifier.overscan:
                found = pedestal(raw.data, amplifier, knots=self.knots, skip=self.skip, clip=self.clip)
                level, error = found.over(amplifier.data, amplifier.overscan_axis)
                cut(data, inside(amplifier.data, box))[:] -= level
                cut(var, inside(amplifier.data, box))[:] = error
                header[f"NPPED{number}"] = float(np.median(found.value))
        mask = _mask(raw, data, box, self.impossible)
        return _assembled(raw, data, var, mask, header)


def pedestal(array: NDArray[Any], amplifier: Amplifier, *, knots: int, skip: int = 0, clip: float = 4.0) -> Pedestal:
    """Return an amplifier's pedestal, fitted to the overscan lines of `array` (as read) that agree with each other.

    The typical level, a whole number, goes first and comes back last: all that is compared with a limit then stays the
    same to the bit when a constant is added to the frame, and no value at the limit changes sides.
    """
    lines = overscan_lines(array, amplifier)
    typical = float(np.floor(np.median(lines)))
    lines = lines - typical
    keep = steady_lines(lines, clip)
    keep[: _skipped(amplifier, skip)] = False
    if not keep.any():
        keep[:] = True
    mean, count = line_clipped_mean(lines[:, keep], clip)
    section = amplifier.overscan[0]
    first = section[2] if amplifier.overscan_axis == "y" else section[0]
    rms = float(mad_std(lines[:, keep] - mean[:, None]))
    if knots == 0:
        level = float(np.median(mean))
        var = rms**2 / max(int(count.sum()), 1) * np.pi / 2
        return Pedestal(np.full(len(mean), typical + level), np.full(len(mean), var), first, int(keep.sum()), rms)
    smooth = penalised_spline(mean, count.astype(np.float64), knots=knots, clip=clip)
    return Pedestal(typical + smooth.value, smooth.var, first, int(keep.sum()), rms)


def _skipped(amplifier: Amplifier, skip: int) -> int:
    """Return how many of the first lines to leave out: overscan that comes before the light starts far from it."""
    section, light = amplifier.overscan[0], amplifier.data
    after = section[0] >= light[1] if amplifier.overscan_axis == "y" else section[2] >= light[3]
    return skip if after else 0


def steady_lines(lines: FloatArray, clip: float = 4.0) -> NDArray[np.bool_]:
    """Return which overscan lines (columns of `lines` (n, m)) share the level of the majority.

    A line is compared with the others at each place, so that the pedestal's own shape does not matter; light that
    spills over only part of a line shows in its upper percentile. A line between two that go, goes too.
    """
    residual = lines - np.median(lines, axis=1, keepdims=True)
    noise = max(float(mad_std(residual)), 0.3)
    level = np.mean(np.clip(residual, -5 * noise, 50 * noise), axis=0)
    spill = np.percentile(residual, 95, axis=0)
    keep = np.ones(lines.shape[1], dtype=np.bool_)
    for value, floor in ((level, noise / np.sqrt(len(lines))), (spill, noise * 2.1 / np.sqrt(len(lines)))):
        scatter = max(float(mad_std(value)), floor)
        keep &= np.abs(value - np.median(value)) <= clip * scatter
    between = ~keep[:-2] & ~keep[2:]
    keep[1:-1] &= ~between
    return keep


def _mask(raw: RawFrame, data: NDArray[Any], box: Section, impossible: float) -> NDArray[np.uint32]:
    mask = np.zeros(data.shape, dtype=np.uint32)
    mask[amplifier_map(raw.detector) == 255] = Flag.NO_DATA
    if raw.detector.saturation > 0:
        most = impossible * raw.detector.saturation
        (unread,) = by_strips(lambda part: (np.abs(part) > most,), data)
        mask[unread] |= np.uint32(Flag.NO_DATA)
    for section in raw.detector.bad:
        shared = overlap(section, box)
        if shared is not None:
            cut(mask, inside(shared, box))[:] |= np.uint32(Flag.BAD)
    return mask


def _assembled(raw: RawFrame, data: NDArray[Any], var: NDArray[Any], mask: NDArray[np.uint32], header: Header) -> Frame:
    turn = raw.detector.oriented
    unread = marked(mask, Flag.NO_DATA)
    data[unread] = var[unread] = 0
    frame = Frame(
        data=turn(data),
        var=turn(var),
        mask=turn(mask),
        unit="adu",
        exposure=raw.exposure,
        detector=raw.detector,
        disperser=raw.disperser,
        header=raw.header | header,
        amp=turn(amplifier_map(raw.detector)) if len(raw.detector.amplifiers) > 1 else None,
        caveats=_caveats(raw.detector),
    )
    return finite(frame)


def _caveats(detector: Detector) -> tuple[Caveat, ...]:
    bare = [amplifier.name for amplifier in detector.amplifiers if not amplifier.overscan]
    if not bare:
        return ()
    text = f"{detector.name}: no overscan of amplifier {', '.join(bare)}: the pedestal follows the bias frames alone"
    return (Caveat("overscan.none", text),)
