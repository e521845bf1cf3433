"""The detector prelude that all modes share: raw frame in, clean frame out."""

from __future__ import annotations

from typing import Any

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.steps.detector.bias import Bias
from nightpipe.steps.detector.cosmics import Cosmics
from nightpipe.steps.detector.dark import Dark
from nightpipe.steps.detector.flat import FlatField
from nightpipe.steps.detector.gain import Electrons
from nightpipe.steps.detector.linearity import Linearity
from nightpipe.steps.detector.overscan import Overscan

PRELUDE = (Overscan, Linearity, Bias, Dark, Electrons)


def clean(run: Run, raw: RawFrame, bias: Frame | None, dark: Frame | None, noise: Noise) -> Frame:
    """Return the frame in electrons: pedestal, bias structure and dark removed, limits flagged, variance set."""
    frame = run(Linearity, frame=run(Overscan, raw=raw))
    if bias is not None:
        frame = run(Bias, frame=frame, bias=bias)
    if dark is not None:
        frame = run(Dark, frame=frame, dark=dark)
    return run(Electrons, frame=frame, noise=noise)


@recipe(
    "prepare",
    inputs=("raw", "bias", "dark", "noise", "flat"),
    optional=("bias", "dark", "flat"),
    outputs=("frame",),
    steps=(*PRELUDE, FlatField, Cosmics),
)
def prepare(
    run: Run, *, raw: RawFrame, bias: Frame | None, dark: Frame | None, noise: Noise, flat: Frame | None
) -> dict[str, Any]:
    """Clean one exposure of the sky: detector signature removed, flat-fielded, cosmic rays flagged."""
    frame = clean(run, raw, bias, dark, noise)
    if flat is not None:
        frame = run(FlatField, frame=frame, flat=flat)
    return {"frame": run(Cosmics, frame=frame)}
