"""Which recipes a night of images needs, on which frames, with which calibrations."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import cos, hypot, radians

from nightpipe.engine.builder import Builder
from nightpipe.engine.night import Night
from nightpipe.engine.plan import Node, OutputRef
from nightpipe.model.exposure import Exposure, FrameType
from nightpipe.recipes.names import filed, folder_of
from nightpipe.recipes.planifu import guiding
from nightpipe.recipes.planimagemasters import calibrations
from nightpipe.recipes.planskies import Skies, plan_skies
from nightpipe.recipes.wishes import wished

OVERLAP = 0.6
"""Images whose centres lie within this share of a field belong to one stack."""


def plan_images(night: Night, builder: Builder) -> None:
    """Plan every image of the sky: prepared, measured, aligned with the others of its field and filter, stacked."""
    guider = {one.path for one in guiding(night)}
    if guider:
        files = len({path.partition("#")[0] for path in guider})
        builder.note(f"{files} frames of the rainbow camera served as guider's; --camera rc reduces them as images")
    exposures = tuple(one for one in night.of(FrameType.IMAGE) if one.path not in guider)
    prepared = {one.path: _prepared(builder, one) for one in exposures}
    skies = plan_skies(builder, exposures, prepared)
    groups: dict[tuple[str, ...], list[Exposure]] = defaultdict(list)
    for exposure in exposures:
        groups[_group(exposure)].append(exposure)
    measured = {
        one.path: _measured(builder, one, members, prepared[one.path], skies)
        for members in groups.values()
        for one in members
    }
    made: list[Made] = []
    for members in groups.values():
        fields = _fields(builder, members)
        for number, field in enumerate(fields, start=1):
            made.append(_field(builder, field, measured, f"_{number}" if len(fields) > 1 else ""))
    _all_bands(builder, made)


@dataclass(frozen=True)
class Made:
    """What is planned of one field through one filter."""

    first: Exposure
    label: str
    stack: OutputRef
    sources: OutputRef
    curves: OutputRef


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


def _field(builder: Builder, members: list[Exposure], nodes: dict[str, Node], suffix: str) -> Made:
    first = members[0]
    folder = folder_of(first)
    parts = (folder, first.setup.arm, filed(first.setup.filter))
    label = "_".join(part for part in parts if part) + _binned(first) + suffix
    measured = [nodes[one.path] for one in members]
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
    lit = builder.node(
        "imagephotometry",
        inputs={
            "stack": stacked["stack"], "sources": stacked["sources"], "stars": aligned["stars"],
            "zeropoints": zeropoints,
        },
        target=first.target,
        label=label,
        publish={"sources": f"{folder}/{label}_sources", "psf": f"{folder}/{label}_psf"},
    )  # fmt: skip
    builder.node(
        "segments",
        inputs={"stack": stacked["stack"], "sources": lit["sources"]},
        target=first.target,
        label=label,
        publish={"segments": f"{folder}/{label}_segments"},
    )
    _new(builder, first, label, {"stack": stacked["stack"], "stars": aligned["stars"], **_lit(lit)})
    curves = builder.node(
        "lightcurve",
        inputs={
            "frames": [node["frame"] for node in measured], "places": places,
            "psfs": [node["psf"] for node in measured], "alignment": aligned["alignment"], "zeropoints": zeropoints,
            "stack": stacked["stack"], "psf": lit["psf"], "zeropoint": lit["zeropoint"],
        },
        target=first.target,
        label=label,
        publish={"curves": f"{folder}/{label}_lightcurve"},
    )["curves"]  # fmt: skip
    return Made(first, label, stacked["stack"], lit["sources"], curves)


def _lit(photometry: Node) -> dict[str, OutputRef]:
    return {"sources": photometry["sources"], "zeropoint": photometry["zeropoint"]}


def _new(builder: Builder, first: Exposure, label: str, known: dict[str, OutputRef]) -> None:
    """Plan what looks for new sources: in the catalogue always, in a reference image where there are any."""
    place = f"{folder_of(first)}/{label}"
    publish = {"found": f"{place}_new"}
    builder.node("newsources", inputs=known, target=first.target, label=label, publish=publish)
    if wished(builder, "difference", first, "ChooseReference.files", label):
        inputs = {name: ref for name, ref in known.items() if name != "stars"}
        names = {"difference": f"{place}_difference", "found": f"{place}_transients"}
        builder.node("difference", inputs=inputs, target=first.target, label=label, publish=names)


def _all_bands(builder: Builder, made: list[Made]) -> None:
    """Put together what was measured of one target through several filters."""
    targets: dict[str, list[Made]] = defaultdict(list)
    for one in made:
        targets[one.first.target].append(one)
    for target, mine in targets.items():
        if target and len({one.first.setup.filter for one in mine}) > 1:
            folder = folder_of(mine[0].first)
            builder.node(
                "lightcurves",
                inputs={"curves": [one.curves for one in mine]},
                target=target,
                label=folder,
                publish={"curves": f"{folder}/{folder}_lightcurve"},
            )
            _in_colour(builder, mine)


def _in_colour(builder: Builder, made: list[Made]) -> None:
    """Plan a picture in colour of the first field of a target that was seen through three filters."""
    alike = [one for one in made if one.first.instrument == made[0].first.instrument]
    field = [one for one in alike if _near(builder, made[0].first, one.first)]
    if len({one.first.band for one in field if one.first.band}) >= 3:
        label = folder_of(made[0].first)
        builder.node(
            "colour", inputs={"stacks": [one.stack for one in field]}, target=made[0].first.target, label=label
        )


def _binned(exposure: Exposure) -> str:
    """Return what tells frames of an unusual binning from the others; most nights have one alone."""
    x, y = exposure.setup.binning
    return "" if (x, y) in ((1, 1), (2, 2)) and exposure.instrument != "arcsat" else f"_{x}x{y}"


def _prepared(builder: Builder, exposure: Exposure) -> Node:
    own = calibrations(builder, exposure)
    return builder.node(
        "imageprepare",
        inputs={
            "raw": builder.raw(exposure), "bias": own.bias, "dark": own.dark, "noise": own.noise, "flat": own.flat,
        },
        exposure=exposure,
        target=exposure.target,
        caveats=own.caveats,
        reasons=own.reasons,
    )  # fmt: skip


def _measured(builder: Builder, exposure: Exposure, members: list[Exposure], prepared: Node, skies: Skies) -> Node:
    others = [builder.raw(one) for one in members if one.path != exposure.path]
    return builder.node(
        "measure",
        inputs={
            "frame": prepared["frame"],
            "companions": others[:3],
            "skies": skies.skies.get(exposure.path),
            "fringe": skies.fringes.get(exposure.path),
        },
        exposure=exposure,
        target=exposure.target,
        caveats=skies.caveats.get(exposure.path, ()),
    )
