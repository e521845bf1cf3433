"""Which recipes a night of images needs, on which frames, with which calibrations."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import cos, hypot, log, radians

from nightpipe.base.caveat import Caveat, merged
from nightpipe.engine.builder import Builder
from nightpipe.engine.match import Match, Reason
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Node, OutputRef
from nightpipe.model.exposure import Exposure, FrameType
from nightpipe.recipes.names import filed, folder_of, label_of, published

OVERLAP = 0.6
"""Images whose centres lie within this share of a field belong to one stack."""


def plan_images(night: Night, builder: Builder) -> None:
    """Plan every image of the sky: prepared, measured, aligned with the others of its field and filter, stacked."""
    groups: dict[tuple[str, ...], list[Exposure]] = defaultdict(list)
    for exposure in night.of(FrameType.IMAGE):
        groups[_group(exposure)].append(exposure)
    for members in groups.values():
        fields = _fields(builder, members)
        for number, field in enumerate(fields, start=1):
            _field(builder, field, f"_{number}" if len(fields) > 1 else "")


@dataclass(frozen=True)
class Calibrations:
    """The nodes that one image is reduced with; None where nothing serves, and then a caveat tells."""

    bias: OutputRef | None
    dark: OutputRef | None
    flat: OutputRef | None
    noise: OutputRef
    caveats: tuple[Caveat, ...]
    reasons: tuple[Reason, ...]


def _group(exposure: Exposure) -> tuple[str, ...]:
    setup = exposure.setup
    return exposure.instrument, exposure.target, setup.arm, setup.filter, "x".join(map(str, setup.binning))


def _fields(builder: Builder, members: list[Exposure]) -> list[list[Exposure]]:
    """Return the images of one target by field: a visit may point at places that share no star."""
    fields: list[list[Exposure]] = []
    for one in members:
        near = [field for field in fields if any(_near(builder, one, other) for other in field)]
        fields = [field for field in fields if field not in near]
        fields.append([*(other for field in near for other in field), one])
    return [sorted(field, key=lambda one: (one.mjd, one.path)) for field in fields]


def _near(builder: Builder, one: Exposure, other: Exposure) -> bool:
    """Tell whether two images overlap; where a pointing is not known they are taken to."""
    if one.ra is None or one.dec is None or other.ra is None or other.dec is None:
        return True
    east = ((one.ra - other.ra + 180.0) % 360.0 - 180.0) * cos(radians(one.dec)) * 60.0
    return hypot(east, (one.dec - other.dec) * 60.0) < OVERLAP * min(builder.night.frame(one).detector.field)


def _field(builder: Builder, members: list[Exposure], suffix: str) -> None:
    first = members[0]
    folder = folder_of(first)
    parts = (folder, first.setup.arm, filed(first.setup.filter))
    label = "_".join(part for part in parts if part) + _binned(first) + suffix
    measured = [_measured(builder, one, members) for one in members]
    places = [node["place"] for node in measured]
    found = {"sources": [node["sources"] for node in measured], "places": places}
    aligned = builder.node("align", inputs=found, target=first.target, label=f"{label}_align")
    known = {"alignment": aligned["alignment"], "stars": aligned["stars"]}
    zeropoints = builder.node(
        "calibrateimages", inputs={**found, **known}, target=first.target, label=f"{label}_zeropoints"
    )["zeropoints"]
    stacked = builder.node(
        "imagestack",
        inputs={
            "frames": [node["frame"] for node in measured], "places": places, "alignment": aligned["alignment"],
            "zeropoints": zeropoints,
        },
        target=first.target,
        label=label,
        publish={"stack": f"{folder}/{label}"},
    )  # fmt: skip
    builder.node(
        "imagephotometry",
        inputs={
            "stack": stacked["stack"], "sources": stacked["sources"], "stars": aligned["stars"],
            "zeropoints": zeropoints,
        },
        target=first.target,
        label=label,
        publish={"sources": f"{folder}/{label}_sources"},
    )  # fmt: skip


def _binned(exposure: Exposure) -> str:
    """Return what tells frames of an unusual binning from the others; most nights have one alone."""
    x, y = exposure.setup.binning
    return "" if (x, y) in ((1, 1), (2, 2)) and exposure.instrument != "arcsat" else f"_{x}x{y}"


def _measured(builder: Builder, exposure: Exposure, members: list[Exposure]) -> Node:
    own = calibrations(builder, exposure)
    prepared = builder.node(
        "imageprepare",
        inputs={
            "raw": builder.raw(exposure), "bias": own.bias, "dark": own.dark, "noise": own.noise, "flat": own.flat,
        },
        exposure=exposure,
        target=exposure.target,
        caveats=own.caveats,
        reasons=own.reasons,
    )  # fmt: skip
    others = [builder.raw(one) for one in members if one.path != exposure.path]
    return builder.node(
        "measure",
        inputs={"frame": prepared["frame"], "companions": others[:3]},
        exposure=exposure,
        target=exposure.target,
    )


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
