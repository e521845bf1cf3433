"""Master calibrations: bias, dark, noise, flat."""

from __future__ import annotations

from typing import Any

import numpy as np

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame, oriented_as
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.steps.detector.badpixels import BadPixels
from nightpipe.steps.detector.bias import Bias, CompareBias
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.flat import NormaliseFlat
from nightpipe.steps.detector.linearity import Linearity
from nightpipe.steps.detector.noise import MeasureNoise
from nightpipe.steps.detector.overscan import Overscan
from nightpipe.steps.spectra.trace import FindSlit


@recipe(
    "bias",
    inputs=("frames", "earlier"),
    many=("frames", "earlier"),
    outputs=("bias",),
    steps=(Overscan, CombineFrames, CompareBias),
)
def bias(run: Run, *, frames: tuple[RawFrame, ...], earlier: tuple[Frame, ...]) -> dict[str, Any]:
    """Combine bias frames into the structure that the overscan leaves behind, and compare it with earlier nights'."""
    levelled = tuple(run(Overscan, raw=raw) for raw in frames)
    master: Frame = run(CombineFrames, label="bias", frames=levelled)
    before = _alike(master, earlier)
    if before:
        compared = run(CompareBias, bias=master, earlier=before)
        for name, level, structure in zip(compared.names, compared.level, compared.structure, strict=True):
            run.metric(f"bias_step/{name}", level, "adu")
            run.metric(f"bias_structure/{name}", structure, "adu")
    return {"bias": master}


def _alike(master: Frame, earlier: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Return the earlier masters of the same format, turned as this one is: another readout is no comparison."""
    turned = tuple(one if master.detector is None else oriented_as(one, master.detector) for one in earlier)
    return tuple(one for one in turned if one.shape == master.shape and one.unit == master.unit)


@recipe(
    "badpixels",
    inputs=("bias", "dark", "lamp"),
    optional=("bias", "dark", "lamp"),
    outputs=("bad",),
    steps=(BadPixels,),
)
def badpixels(run: Run, *, bias: Frame | None, dark: Frame | None, lamp: Frame | None) -> dict[str, Any]:
    """Find the bad pixels on what the night has: masters of bias and dark, and the combined lamp."""
    like = next(frame for frame in (lamp, dark, bias) if frame is not None)
    given = (frame for frame in (bias, dark) if frame is not None)
    masters = tuple(one if like.detector is None else oriented_as(one, like.detector) for one in given)
    found: Frame = run(BadPixels, masters=masters, flats=() if lamp is None else (lamp,))
    run.metric("bad_pixels", float(np.sum(found.data == 0)), "pixel")
    return {"bad": found}


@recipe(
    "dark",
    inputs=("frames", "bias"),
    many=("frames",),
    optional=("bias",),
    outputs=("dark",),
    steps=(Overscan, Linearity, Bias, CombineFrames),
    defaults=(("CombineFrames[dark].scale", "exptime"),),
)
def dark(run: Run, *, frames: tuple[RawFrame, ...], bias: Frame | None) -> dict[str, Any]:
    """Combine dark frames, bias removed, those of other exposure times brought to that of the first one."""
    levelled = tuple(run(Linearity, frame=run(Overscan, raw=raw)) for raw in frames)
    if bias is not None:
        levelled = tuple(run(Bias, frame=frame, bias=bias) for frame in levelled)
    return {"dark": run(CombineFrames, label="dark", frames=levelled)}


@recipe(
    "noise",
    inputs=("biases", "flats", "like", "other"),
    many=("biases", "flats"),
    optional=("like", "other"),
    outputs=("noise",),
    steps=(MeasureNoise,),
)
def noise(
    run: Run,
    *,
    biases: tuple[RawFrame, ...],
    flats: tuple[RawFrame, ...],
    like: RawFrame | None,
    other: Noise | None = None,
) -> dict[str, Any]:
    """Measure gain and read noise from pairs of bias and flat frames, and compare them with the header.

    A night with neither has only the exposure itself, `like`: its overscan, and the header's word. Where lamps were
    read at another speed, `other` is what was measured there.
    """
    measured = run(MeasureNoise, biases=biases, flats=flats if like is None else (like,), other=other)
    for name, gain, read_noise in zip(measured.amplifiers, measured.gain, measured.read_noise, strict=True):
        run.metric(f"gain_{name}", gain, "electron/adu")
        run.metric(f"read_noise_{name}", read_noise, "electron")
    return {"noise": measured}


@recipe(
    "flat",
    inputs=("frames", "bias", "dark", "noise"),
    many=("frames",),
    optional=("bias", "dark"),
    outputs=("flat", "slit", "lamp"),
    steps=(*PRELUDE, CombineFrames, FindSlit, NormaliseFlat),
    defaults=(("CombineFrames[flat].scale", "level"),),
)
def flat(
    run: Run, *, frames: tuple[RawFrame, ...], bias: Frame | None, dark: Frame | None, noise: Noise
) -> dict[str, Any]:
    """Combine lamp flats, find the slit's edges, remove the lamp's spectrum: pixel response times illumination."""
    cleaned = tuple(clean(run, raw, bias, dark, noise) for raw in frames)
    lamp = run(CombineFrames, label="flat", frames=cleaned)
    slit = run(FindSlit, flat=lamp)
    return {"flat": run(NormaliseFlat, frame=lamp, slit=slit), "slit": slit, "lamp": lamp}
