"""Dark current, where a master dark fits."""

from __future__ import annotations

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, oriented_as
from nightpipe.steps.detector.fit import keeps_pedestal, name_of, same_shape


class Dark(Step):
    """Subtract a master dark: scaled to the exposure time only where the detector allows it."""

    version = 2
    tolerance: float = parameter(0.05, "exposure times that differ by a smaller fraction count as equal", ge=0, lt=1)

    def run(self, frame: Frame, dark: Frame) -> Frame:
        """Return `frame` minus `dark` [adu], variances added, bad pixels of the dark flagged.

        A dark of another exposure time is scaled if ``detector.scalable_dark``; otherwise nothing is subtracted and
        the frame carries the caveat ``dark.exptime``. `dark` has its bias removed. Where there is neither overscan nor
        bias both hold the pedestal, and it goes with the dark: then the dark is subtracted as it is, whatever its
        exposure time (caveat ``dark.pedestal`` where that differs).

        Raises
        ------
        BadFrameError
            The two have different shapes or units.
        """
        dark = dark if frame.detector is None else oriented_as(dark, frame.detector)
        same_shape(frame, dark, "dark")
        ratio = _time_ratio(frame, dark)
        if keeps_pedestal(frame):
            told = () if ratio is not None and abs(ratio - 1) <= self.tolerance else (_with_pedestal(frame, dark),)
            return _less(frame, dark, 1.0).but(header=frame.header | {"NPBIAS": True}, caveats=told)
        if ratio is None or (abs(ratio - 1) > self.tolerance and not _scalable(frame)):
            return frame.but(caveats=(_refused(frame, dark),))
        return _less(frame, dark, ratio if abs(ratio - 1) > self.tolerance else 1.0)


def _less(frame: Frame, dark: Frame, ratio: float) -> Frame:
    factor = np.float32(ratio)
    return frame.but(
        data=frame.data - factor * dark.data,
        var=frame.var + factor**2 * dark.var,
        mask=frame.mask | (dark.mask & np.uint32(Flag.BAD | Flag.NO_DATA)),
    )


def _time_ratio(frame: Frame, dark: Frame) -> float | None:
    """Return the exposure time of `frame` over that of `dark`, or None where one is unknown or zero."""
    if frame.exposure is None or dark.exposure is None or dark.exposure.exptime <= 0:
        return None
    return frame.exposure.exptime / dark.exposure.exptime


def _scalable(frame: Frame) -> bool:
    return frame.detector is not None and frame.detector.scalable_dark


def _times(frame: Frame, dark: Frame) -> list[str]:
    return [f"{f.exposure.exptime:g} s" if f.exposure else "unknown time" for f in (frame, dark)]


def _with_pedestal(frame: Frame, dark: Frame) -> Caveat:
    times = _times(frame, dark)
    text = f"no bias: the dark of {times[1]} was subtracted as it is from frames of {times[0]}, for its pedestal"
    return Caveat("dark.pedestal", text)


def _refused(frame: Frame, dark: Frame) -> Caveat:
    times = _times(frame, dark)
    text = f"no dark was subtracted: {name_of(frame)} has {times[0]}, the dark {times[1]}, and it must not be scaled"
    return Caveat("dark.exptime", text)
