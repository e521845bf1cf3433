"""Which masters an image is reduced with: bias, dark, flat, noise."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from nightpipe.base.caveat import Caveat, merged
from nightpipe.engine.builder import Builder
from nightpipe.engine.match import Match, Reason
from nightpipe.engine.plan import OutputRef
from nightpipe.model.exposure import Exposure, FrameType
from nightpipe.recipes.names import label_of, published


@dataclass(frozen=True)
class Calibrations:
    """The nodes that one image is reduced with; None where nothing serves, and then a caveat tells."""

    bias: OutputRef | None
    dark: OutputRef | None
    flat: OutputRef | None
    noise: OutputRef
    caveats: tuple[Caveat, ...]
    reasons: tuple[Reason, ...]


def calibrations(builder: Builder, exposure: Exposure) -> Calibrations:
    """Return bias, dark, flat and noise for an image, as its instrument's rules match them."""
    biases = builder.match(exposure, FrameType.BIAS)
    bias = _bias(builder, biases, exposure)
    darks, told = _darks(builder, exposure)
    dark = _dark(builder, darks, bias, exposure)
    flats = _flats(builder, exposure)
    raws = [builder.raw(one) for one in flats.exposures]
    selection = _selection(builder, flats, bias, exposure)
    noise = builder.node(
        "imagenoise",
        inputs={
            "biases": [builder.raw(one) for one in biases.exposures],
            "flats": raws,
            "like": None if biases.exposures or raws else builder.raw(exposure),
            "selection": selection,
        },
        label=label_of("noise", exposure, biases.exposures + flats.exposures),
    )["noise"]
    flat = _flat(builder, flats, {"bias": bias, "dark": dark, "noise": noise, "selection": selection}, exposure)
    matches = (biases, darks, flats)
    return Calibrations(
        bias, dark, flat, noise,
        merged(*(match.caveats for match in matches), told),
        tuple(reason for match in matches for reason in match.reasons),
    )  # fmt: skip


def _bias(builder: Builder, match: Match, exposure: Exposure) -> OutputRef | None:
    if not match.exposures:
        return None
    label = label_of("bias", exposure, match.exposures)
    frames = [builder.raw(one) for one in match.exposures]
    inputs = {"frames": frames}
    return builder.node("bias", inputs=inputs, label=label, publish=published("bias", label))["bias"]


def _darks(builder: Builder, exposure: Exposure) -> tuple[Match, tuple[Caveat, ...]]:
    """Return the darks of the exposure time nearest to the image's, and a caveat where they must be stretched."""
    if not any(one.instrument == exposure.instrument for one in builder.night.of(FrameType.DARK)):
        return Match(), ()
    match = builder.match(exposure, FrameType.DARK)
    times = sorted({round(one.exptime, 2) for one in match.exposures if one.exptime > 0})
    if not times:
        return Match((), match.caveats, match.reasons), ()
    wanted = max(exposure.exptime, 1e-3)
    best = min(times, key=lambda time: abs(log(time / wanted)))
    taken = _of_time(builder, exposure, match.exposures, best)
    names = {one.name for one in taken}
    reasons = tuple(
        Reason(one.kind, one.candidate, taken=False, text=f"{best:g} s lie nearer to the exposure")
        if one.taken and one.candidate not in names
        else one
        for one in match.reasons
    )
    told: tuple[Caveat, ...] = ()
    if times[-1] < 0.95 * wanted:
        told = (Caveat("dark.scaled", f"no dark above {times[-1]:g} s: that of {best:g} s serves {wanted:g} s"),)
    return Match(taken, match.caveats, reasons), told


def _of_time(builder: Builder, exposure: Exposure, darks: tuple[Exposure, ...], best: float) -> tuple[Exposure, ...]:
    """Return the darks of the best exposure time first; where they may be scaled, longer ones join a lone one.

    The noise of a single dark cannot be told from its pattern; with another one it can.
    """
    same = tuple(one for one in darks if round(one.exptime, 2) == best)
    if len(same) > 1 or not builder.night.frame(exposure).detector.scalable_dark:
        return same
    near = sorted((one for one in darks if one not in same), key=lambda one: (-one.exptime, one.mjd))
    return (*same, *near[:2])


def _dark(builder: Builder, match: Match, bias: OutputRef | None, exposure: Exposure) -> OutputRef | None:
    if not match.exposures:
        return None
    label = label_of("dark", exposure, match.exposures)
    inputs = {"frames": [builder.raw(one) for one in match.exposures], "bias": bias}
    return builder.node("dark", inputs=inputs, label=label, publish=published("dark", label))["dark"]


def _flats(builder: Builder, exposure: Exposure) -> Match:
    """Return the flats of the twilight sky where there are enough, else the dome's, else the more of the two."""
    sky, dome = (builder.match(exposure, kind) for kind in (FrameType.SKY_FLAT, FrameType.FLAT))
    few = {f"{kind.value}.few" for kind in (FrameType.SKY_FLAT, FrameType.FLAT)}

    def good(match: Match) -> bool:
        return bool(match.exposures) and not few & {caveat.code for caveat in match.caveats}

    chosen = sky if good(sky) or (not good(dome) and len(sky.exposures) >= len(dome.exposures)) else dome
    other = dome if chosen is sky else sky
    refused = tuple(
        Reason(one.kind, one.candidate, taken=False, text="flats of the other kind serve better") if one.taken else one
        for one in other.reasons
    )
    return Match(chosen.exposures, chosen.caveats, (*chosen.reasons, *refused))


def _selection(builder: Builder, flats: Match, bias: OutputRef | None, exposure: Exposure) -> OutputRef | None:
    if not flats.exposures:
        return None
    frames = [builder.raw(one) for one in flats.exposures]
    label = label_of("flat", exposure, flats.exposures)
    return builder.node("selectflats", inputs={"frames": frames, "bias": bias}, label=label)["selection"]


def _flat(builder: Builder, match: Match, inputs: dict[str, OutputRef | None], exposure: Exposure) -> OutputRef | None:
    if not match.exposures:
        return None
    label = label_of("flat", exposure, match.exposures)
    frames = [builder.raw(one) for one in match.exposures]
    made = builder.node("imageflat", inputs={"frames": frames, **inputs}, label=label, publish=published("flat", label))
    return made["flat"]


def plan_image_masters(builder: Builder, exposures: list[Exposure]) -> None:
    """Plan the masters of cameras of a night without images of the sky: what they would be reduced with."""
    kinds = (FrameType.SKY_FLAT, FrameType.FLAT)
    flats = [one for one in exposures if one.type in kinds]
    for flat in flats:
        calibrations(builder, flat)
    served = {(one.instrument, one.setup.arm) for one in flats}
    for dark in (one for one in exposures if one.type is FrameType.DARK):
        if (dark.instrument, dark.setup.arm) not in served:
            bias = _bias(builder, builder.match(dark, FrameType.BIAS), dark)
            match, _ = _darks(builder, dark)
            _dark(builder, match, bias, dark)
