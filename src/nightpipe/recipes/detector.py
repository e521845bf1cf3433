"""The detector prelude that all modes share: raw frame in, clean frame out."""

from __future__ import annotations

from typing import Any

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.steps.detector.badpixels import MaskBad
from nightpipe.steps.detector.bias import Bias
from nightpipe.steps.detector.cosmics import Cosmics
from nightpipe.steps.detector.dark import Dark
from nightpipe.steps.detector.flat import FlatField
from nightpipe.steps.detector.gain import Electrons
from nightpipe.steps.detector.linearity import Linearity
from nightpipe.steps.detector.overscan import Overscan

PRELUDE = (Overscan, Linearity, Bias, Dark, Electrons)


def clean(
    run: Run, raw: RawFrame, bias: Frame | None, dark: Frame | None, noise: Noise, bad: Frame | None = None
) -> Frame:
    """Return the frame in electrons: pedestal, bias structure and dark removed, limits and bad pixels flagged."""
    frame = run(Linearity, frame=run(Overscan, raw=raw))
    if bias is not None:
        frame = run(Bias, frame=frame, bias=bias)
    if dark is not None:
        frame = run(Dark, frame=frame, dark=dark)
    frame = run(Electrons, frame=frame, noise=noise)
    return frame if bad is None else run(MaskBad, frame=frame, bad=bad)


@recipe(
    "prepare",
    inputs=("raw", "bias", "dark", "noise", "flat", "bad"),
    optional=("bias", "dark", "flat", "bad"),
    outputs=("frame",),
    steps=(*PRELUDE, MaskBad, FlatField, Cosmics),
)
def prepare(
    run: Run,
    *,
    raw: RawFrame,
    bias: Frame | None,
    dark: Frame | None,
    noise: Noise,
    flat: Frame | None,
    bad: Frame | None,
) -> dict[str, Any]:
    """Clean one exposure of the sky: detector signature removed, flat-fielded, cosmic rays flagged."""
    frame = clean(run, raw, bias, dark, noise, bad)
    if flat is not None:
        frame = run(FlatField, frame=frame, flat=flat)
    return {"frame": run(Cosmics, frame=frame)}
