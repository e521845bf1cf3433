"""Dark current, where a master dark fits."""

from __future__ import annotations

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.step import Step, parameter
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, oriented_as
from nightpipe.steps.detector.fit import name_of, same_shape


class Dark(Step):
    """Subtract a master dark: scaled to the exposure time only where the detector allows it."""

    tolerance: float = parameter(0.05, "exposure times that differ by a smaller fraction count as equal", ge=0, lt=1)

    def run(self, frame: Frame, dark: Frame) -> Frame:
        """Return `frame` minus `dark` [adu], variances added, bad pixels of the dark flagged.

        A dark of another exposure time is scaled if ``detector.scalable_dark``; otherwise nothing is subtracted and
        the frame carries the caveat ``dark.exptime``. `dark` has its bias removed.

        Raises
        ------
        BadFrameError
            The two have different shapes or units.
        """
        dark = dark if frame.detector is None else oriented_as(dark, frame.detector)
        same_shape(frame, dark, "dark")
        ratio = _time_ratio(frame, dark)
        if ratio is None or (abs(ratio - 1) > self.tolerance and not _scalable(frame)):
            return frame.but(caveats=(_refused(frame, dark),))
        factor = np.float32(ratio if abs(ratio - 1) > self.tolerance else 1.0)
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


def _refused(frame: Frame, dark: Frame) -> Caveat:
    times = [f"{f.exposure.exptime:g} s" if f.exposure else "unknown time" for f in (frame, dark)]
    text = f"no dark was subtracted: {name_of(frame)} has {times[0]}, the dark {times[1]}, and it must not be scaled"
    return Caveat("dark.exptime", text)
