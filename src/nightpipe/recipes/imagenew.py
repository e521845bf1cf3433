"""What is new on a stack, against a catalogue and a reference image; stacks of three bands in colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy import ndimage

from nightpipe.base.errors import NoSolutionError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.skyfiles import band_of, read_moc, read_sky_image
from nightpipe.model.difference import Difference
from nightpipe.model.moc import Circle, Moc
from nightpipe.model.sources import Sources, ZeroPoint
from nightpipe.model.stack import Stack
from nightpipe.model.stars import StarCatalogue
from nightpipe.steps.imaging.colour import MakeColour
from nightpipe.steps.imaging.newsources import NewSources
from nightpipe.steps.imaging.places import ForcedPlaces
from nightpipe.steps.imaging.reference import ChooseReference
from nightpipe.steps.imaging.regions import RankSources
from nightpipe.steps.imaging.subtract import Subtract
from nightpipe.steps.imaging.transients import FindTransients


@recipe(
    "newsources",
    inputs=("stack", "sources", "stars", "zeropoint"),
    outputs=("found",),
    steps=(RankSources, NewSources),
    defaults=(("NewSources.limit", 30.0),),
)
def newsources(
    run: Run,
    *,
    stack: Stack,
    sources: Sources,
    stars: tuple[StarCatalogue, ...],
    zeropoint: tuple[ZeroPoint, ...],
) -> dict[str, Any]:
    """List the sources of a stack that its catalogue should have and has not, by error circle."""
    if not stars or not zeropoint or stack.exposure is None:
        return {"found": ()}
    epoch = 2000.0 + (stack.exposure.mjd - 51544.5) / 365.25
    try:
        found: Sources = run(
            NewSources, sources=sources, wcs=stack.wcs, zp=zeropoint[0].zp, catalogue=stars[0], epoch=epoch,
            band=zeropoint[0].band, regions=_regions(run),
        )  # fmt: skip
    except NoSolutionError as error:
        run.caveat("findnew.none", f"new sources were not searched: wanted {error.wanted}, found {error.found}")
        return {"found": ()}
    run.metric("new_sources", len(found))
    return {"found": (found,)}


def _regions(run: Run) -> tuple[Circle | Moc, ...]:
    step = cast(RankSources, run.step(RankSources))
    return step.regions(*((read_moc(Path(step.moc)),) if step.moc else ()))


@recipe(
    "difference",
    inputs=("stack", "sources", "zeropoint"),
    outputs=("difference", "found"),
    steps=(ChooseReference, Subtract, FindTransients, RankSources, ForcedPlaces),
)
def difference(run: Run, *, stack: Stack, sources: Sources, zeropoint: tuple[ZeroPoint, ...]) -> dict[str, Any]:
    """Subtract a reference image from a stack, find what appeared, and tell real sources from residues."""
    files = [Path(name) for name in cast(ChooseReference, run.step(ChooseReference)).paths]
    reference = run(
        ChooseReference,
        stack=stack,
        references=tuple(read_sky_image(path) for path in files),
        bands=tuple(band_of(path) for path in files),
    )
    lit = replace(stack, zp=zeropoint[0].zp) if zeropoint else stack
    changed: Difference = run(Subtract, new=lit, reference=reference, sources=sources)
    found: Sources = run(FindTransients, difference=changed)
    found = run(RankSources, sources=found, regions=_regions(run))
    found = _by_worth(found)
    run.metric("transients", int((found.quality == 0).sum()))
    run.metric("transients_bogus", int((found.quality != 0).sum()))
    run.metric("subtraction_chi2", changed.chi2)
    run.metric("subtraction_stamps", changed.stamps)
    _at_places(run, stack, changed)
    return {"difference": changed, "found": found}


def _by_worth(found: Sources) -> Sources:
    """Return candidates with the real ones first, those in most regions, then the most significant."""
    order = np.lexsort((-np.abs(found.columns["significance"]), -found.columns["class"], found.quality != 0))
    return found.take(order)


def _at_places(run: Run, stack: Stack, changed: Difference) -> None:
    """Record the light at the object's place, and others, in the difference: that of a host is not in it."""
    if stack.exposure is None:
        return
    ny, nx = changed.data.shape
    for spot in run(ForcedPlaces, exposure=stack.exposure):
        x, y = (float(part) for part in changed.wcs.to_pixel(spot.ra, spot.dec))
        if not (1 <= x < nx - 2 and 1 <= y < ny - 2):
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = np.abs(changed.flux / changed.significance)
        flux = float(ndimage.map_coordinates(changed.flux, [[y], [x]], order=3)[0])
        error = float(noise[round(y), round(x)])
        if not (np.isfinite(error) and error > 0):
            continue
        run.metric(f"difference/{spot.name}/flux", flux, "electron/s")
        run.metric(f"difference/{spot.name}/flux_error", error, "electron/s")
        if np.isfinite(changed.zp) and flux > 3 * error:
            run.metric(f"difference/{spot.name}/mag", changed.zp - 2.5 * np.log10(flux), "mag")
            run.metric(f"difference/{spot.name}/mag_error", 2.5 / np.log(10) * error / flux, "mag")


@recipe("colour", inputs=("stacks",), many=("stacks",), outputs=("colour",), steps=(MakeColour,))
def colour(run: Run, *, stacks: tuple[Stack, ...]) -> dict[str, Any]:
    """Bring the stacks of one field through three filters onto one grid; a caveat says why there is no picture."""
    try:
        return {"colour": (run(MakeColour, stacks=stacks),)}
    except NoSolutionError as error:
        run.caveat("colour.none", f"no picture in colour: {error}")
        return {"colour": ()}
