"""Whether a calibration fits the frame it is meant for."""

from __future__ import annotations

from nightpipe.base.errors import BadFrameError
from nightpipe.model.frame import Frame


def same_shape(frame: Frame, other: Frame, what: str, *, units: bool = True) -> None:
    """Raise BadFrameError unless the two frames have one shape, and one unit where `units` is asked for."""
    if frame.shape != other.shape:
        raise BadFrameError(
            f"a {what} of {name_of(frame)}'s shape, {frame.shape[1]} x {frame.shape[0]}",
            f"{other.shape[1]} x {other.shape[0]} in {name_of(other)}",
            "choose another calibration with the same window and binning",
        )
    if units and frame.unit != other.unit:
        raise BadFrameError(f"a {what} in {frame.unit}", other.unit, "run the same steps on both")


def name_of(frame: Frame) -> str:
    """Return what people call the frame."""
    return frame.exposure.name if frame.exposure is not None else "the frame"


def keeps_pedestal(frame: Frame) -> bool:
    """Tell whether nothing took the pedestal off a frame: neither overscan, nor bias, nor a dark that held it."""
    taken = "NPBIAS" in frame.header or any(key.startswith("NPPED") for key in frame.header)
    return not taken and "overscan.none" in {caveat.code for caveat in frame.caveats}
