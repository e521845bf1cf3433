"""The light at given places, seen or not: on each image of a field, on the stack, and over all bands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np

from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.model.frame import Frame
from nightpipe.model.pointing import Place
from nightpipe.model.sources import LightCurve, Psf, ZeroPoint, ZeroPoints
from nightpipe.model.spot import Spot
from nightpipe.model.stack import Stack
from nightpipe.model.wcs import Alignment
from nightpipe.steps.imaging.forced import ForcedPhotometry
from nightpipe.steps.imaging.lightcurve import GatherLightCurve
from nightpipe.steps.imaging.places import ForcedPlaces

SAME = 0.3 / 3600.0
"""Headers of two cameras may give one place with so much difference [deg]."""


@recipe(
    "lightcurve",
    inputs=("frames", "places", "psfs", "alignment", "zeropoints", "stack", "psf", "zeropoint"),
    many=("frames", "places", "psfs"),
    outputs=("curves",),
    steps=(ForcedPlaces, ForcedPhotometry, GatherLightCurve),
)
def lightcurve(
    run: Run,
    *,
    frames: tuple[Frame, ...],
    places: tuple[Place, ...],
    psfs: tuple[tuple[Psf, ...], ...],
    alignment: Alignment,
    zeropoints: ZeroPoints,
    stack: Stack,
    psf: tuple[Psf, ...],
    zeropoint: tuple[ZeroPoint, ...],
) -> dict[str, Any]:
    """Measure the light at the object's place, and at others asked for, on each image of a field and on its stack."""
    spots: tuple[Spot, ...] = run(ForcedPlaces, exposure=places[0].exposure)
    if not spots:
        return {"curves": ()}
    if not (np.isfinite(alignment.catalogue_rms).all() or cast(ForcedPlaces, run.step(ForcedPlaces)).unsolved):
        text = "no star of a catalogue tells where the images lie: nothing was measured at the object's coordinates"
        run.caveat("forced.unsolved", text)
        return {"curves": ()}
    curves = []
    for spot in spots:
        if not _shown(spot, frames, alignment):
            run.caveat("forced.outside", f"{spot.name} lies outside all {len(frames)} images through this filter")
            continue
        whole = run(
            ForcedPhotometry, label="stack", frame=stack, wcs=stack.wcs, psf=_only(psf), zero_point=_only(zeropoint),
            place=(spot.ra, spot.dec), name=spot.name,
        )  # fmt: skip
        rows = [
            run(
                ForcedPhotometry, frame=frame, wcs=solution.wcs, psf=_only(own), zero_point=zero,
                place=(spot.ra, spot.dec), name=spot.name,
            )
            for frame, own, solution, zero in zip(frames, psfs, alignment.solutions, zeropoints.frames, strict=True)
            if solution is not None
        ]  # fmt: skip
        curves.append(run(GatherLightCurve, rows=(*rows, whole) if len(rows) > 1 else tuple(rows) or (whole,)))
        _tell(run, curves[-1], whole if len(rows) > 1 else curves[-1], first=spot is spots[0])
    return {"curves": tuple(curves)}


def _shown(spot: Spot, frames: tuple[Frame, ...], alignment: Alignment) -> bool:
    """Tell whether any image shows a place."""
    for frame, solution in zip(frames, alignment.solutions, strict=True):
        if solution is None:
            continue
        x, y = (float(part) for part in solution.wcs.to_pixel(spot.ra, spot.dec))
        if -0.5 <= x <= frame.shape[1] - 0.5 and -0.5 <= y <= frame.shape[0] - 0.5:
            return True
    return False


def _only(members: tuple[Any, ...]) -> Any:
    return members[0] if members else None


def _tell(run: Run, curve: LightCurve, whole: LightCurve, *, first: bool) -> None:
    """Record what the stack shows at a place, and in how many images the source was seen."""
    run.metric(f"forced/{curve.name}/images", int(np.isfinite(curve.flux).sum()))
    run.metric(f"forced/{curve.name}/detections", int(np.isfinite(curve.mag).sum()))
    facts = (
        ("mag", whole.mag[-1], "mag"), ("mag_error", whole.mag_error[-1], "mag"), ("limit", whole.limit[-1], "mag"),
        ("flux", whole.flux[-1], whole.unit[-1]), ("flux_error", whole.flux_error[-1], whole.unit[-1]),
    )  # fmt: skip
    for name, value, unit in facts:
        if np.isfinite(value):
            run.metric(f"forced/{curve.name}/{name}", float(value), unit)
            if first and unit == "mag":
                run.metric(f"object_{name}", float(value), unit)


@recipe("lightcurves", inputs=("curves",), many=("curves",), outputs=("curves",), steps=(GatherLightCurve,))
def lightcurves(run: Run, *, curves: tuple[tuple[LightCurve, ...], ...]) -> dict[str, Any]:
    """Put the light curves of one object through all filters together."""
    alike: list[list[LightCurve]] = []
    for curve in (one for several in curves for one in several):
        group = next((group for group in alike if _same(group[0], curve)), None)
        if group is None:
            alike.append([curve])
        else:
            group.append(replace(curve, ra=group[0].ra, dec=group[0].dec))
    return {"curves": tuple(_gathered(run, group) for group in alike)}


def _same(one: LightCurve, other: LightCurve) -> bool:
    east = abs((one.ra - other.ra + 180.0) % 360.0 - 180.0) * np.cos(np.radians(one.dec))
    return one.name == other.name and one.sigma == other.sigma and max(east, abs(one.dec - other.dec)) < SAME


def _gathered(run: Run, rows: Iterable[LightCurve]) -> LightCurve:
    return cast(LightCurve, run(GatherLightCurve, rows=tuple(rows)))
