"""Master calibrations of imagers: which flats serve, gain and read noise, the flat field."""

from __future__ import annotations

from typing import Any

from nightpipe.base.errors import BadFrameError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.selection import Selection
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.imageflat import MaskStars, NormaliseImageFlat
from nightpipe.steps.detector.noise import MeasureNoise
from nightpipe.steps.detector.noisecheck import CheckNoise
from nightpipe.steps.detector.select import SelectFlats


@recipe(
    "selectflats",
    inputs=("frames", "bias"),
    many=("frames",),
    optional=("bias",),
    outputs=("selection",),
    steps=(SelectFlats,),
)
def selectflats(run: Run, *, frames: tuple[RawFrame, ...], bias: Frame | None) -> dict[str, Any]:
    """Judge flats by saturation, level, gradient and stars; who is refused, and why, is told."""
    selection: Selection = run(SelectFlats, frames=frames, bias=bias)
    run.metric("flats_taken", len(selection.taken))
    run.metric("flats_refused", len(selection.names) - len(selection.taken))
    for name, level in zip(selection.names, selection.level, strict=True):
        run.metric(f"flat_level/{name}", float(level))
    return {"selection": selection}


@recipe(
    "imagenoise",
    inputs=("biases", "flats", "like", "selection"),
    many=("biases", "flats"),
    optional=("like", "selection"),
    outputs=("noise",),
    steps=(MeasureNoise, CheckNoise),
)
def imagenoise(
    run: Run,
    *,
    biases: tuple[RawFrame, ...],
    flats: tuple[RawFrame, ...],
    like: RawFrame | None,
    selection: Selection | None,
) -> dict[str, Any]:
    """Measure gain and read noise from the biases and the flats that serve, by two estimators."""
    flats = serving(flats, selection)
    measured = run(MeasureNoise, biases=biases, flats=flats if like is None else (like, *flats))
    measured = run(CheckNoise, noise=measured, biases=biases, flats=flats)
    for k, name in enumerate(measured.amplifiers):
        run.metric(f"gain_{name}", measured.gain[k], "electron/adu")
        run.metric(f"read_noise_{name}", measured.read_noise[k], "electron")
        _known(run, f"gain_check_{name}", measured.gain_check[k], "electron/adu")
        _known(run, f"read_noise_check_{name}", measured.read_noise_check[k], "electron")
    return {"noise": measured}


def _known(run: Run, name: str, value: float, unit: str) -> None:
    if value == value:  # noqa: PLR0124 - nan where it was not measured
        run.metric(name, value, unit)


@recipe(
    "imageflat",
    inputs=("frames", "bias", "dark", "noise", "selection"),
    many=("frames",),
    optional=("bias", "dark", "selection"),
    outputs=("flat",),
    steps=(*PRELUDE, MaskStars, CombineFrames, NormaliseImageFlat),
    defaults=(("CombineFrames[flat].scale", "level"), ("CombineFrames[flat].high", 3.5)),
)
def imageflat(
    run: Run,
    *,
    frames: tuple[RawFrame, ...],
    bias: Frame | None,
    dark: Frame | None,
    noise: Noise,
    selection: Selection | None,
) -> dict[str, Any]:
    """Combine the flats that serve, stars masked and levels equal, into the response of every pixel."""
    chosen = serving(frames, selection)
    if not chosen:
        found = (
            "; ".join(f"{n}: {r}" for n, r in zip(selection.names, selection.reasons, strict=True)) if selection else ""
        )
        raise BadFrameError("a flat that serves", found or "none", "SelectFlats.keep=NAME takes one all the same")
    cleaned = run(MaskStars, frames=tuple(clean(run, raw, bias, dark, noise) for raw in chosen))
    flat = run(NormaliseImageFlat, frame=run(CombineFrames, label="flat", frames=cleaned))
    run.metric("flats", len(chosen))
    return {"flat": flat}


def serving(frames: tuple[RawFrame, ...], selection: Selection | None) -> tuple[RawFrame, ...]:
    """Return the frames that a selection took; all where there is none."""
    return frames if selection is None else tuple(raw for raw in frames if raw.exposure.name in selection.taken)
