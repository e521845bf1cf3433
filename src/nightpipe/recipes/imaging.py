"""Imaging: clean frames to a registered stack with its catalogue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from nightpipe.base.errors import NoSolutionError, ReferenceMissingError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.catalogues.cone import cone
from nightpipe.io.states import CATALOGUES
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.pointing import Place, placed
from nightpipe.model.skyimage import SkyImage
from nightpipe.model.sources import Psf, Sources, ZeroPoints
from nightpipe.model.stack import Stack
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import NONE, Alignment, Astrometry, Wcs
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.recipes.imageskies import SKY_STEPS, skyless
from nightpipe.steps.detector.flat import FlatField
from nightpipe.steps.imaging.align import AlignFrames
from nightpipe.steps.imaging.background import CosmicsImage
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.photometry import Photometer
from nightpipe.steps.imaging.psf import ModelPsf
from nightpipe.steps.imaging.solve import SolveAstrometry
from nightpipe.steps.imaging.stack import StackImages
from nightpipe.steps.imaging.stars import ReferenceStars

FALSE = 0.05
"""Beyond such a share of false sources a caveat tells."""


@recipe(
    "imageprepare",
    inputs=("raw", "bias", "dark", "noise", "flat"),
    optional=("bias", "dark", "flat"),
    outputs=("frame",),
    steps=(*PRELUDE, FlatField),
    version=2,
)
def imageprepare(
    run: Run, *, raw: RawFrame, bias: Frame | None, dark: Frame | None, noise: Noise, flat: Frame | None
) -> dict[str, Any]:
    """Remove the detector's signature from one image and divide by the flat field."""
    frame = clean(run, raw, bias, dark, noise)
    if flat is None:
        run.caveat("flat.none", "no flat: differences between pixels stay in the image and may look like sources")
        return {"frame": frame}
    return {"frame": run(FlatField, frame=frame, flat=flat)}


@recipe(
    "measure",
    inputs=("frame", "companions", "skies", "fringe"),
    many=("companions",),
    optional=("skies", "fringe"),
    outputs=("frame", "sources", "place", "psf"),
    steps=(*SKY_STEPS, CosmicsImage, Detect, ModelPsf, Photometer),
    version=2,
)
def measure(
    run: Run,
    *,
    frame: Frame,
    companions: tuple[RawFrame, ...],
    skies: tuple[SkyImage, ...] | None,
    fringe: SkyImage | None,
) -> dict[str, Any]:
    """Subtract fringes and sky of one image, flag cosmic rays where no stack can, measure its sources by its PSF."""
    frame = run(CosmicsImage, frame=skyless(run, frame, skies, fringe), images=len(companions) + 1)
    sources: Sources = run(Detect, frame=frame)
    _doubt(run, frame, sources)
    psf = _psf(run, frame, sources)
    if psf is not None:
        sources = run(Photometer, frame=frame, sources=sources, psf=psf)
    seeing, ellipticity = _shape_of_stars(sources)
    place = placed(frame, seeing)
    exptime = max(place.exposure.exptime, 1e-9)
    run.metric("sky", float(frame.header["NPSKY"]) / exptime, "electron/s")
    run.metric("sources", len(sources))
    if np.isfinite(seeing):
        run.metric("seeing", place.seeing, "arcsec")
        run.metric("ellipticity", ellipticity)
    slim = frame.but(photon_var=None, flat_var=None, read_var=None)  # a stack of many needs no more than the variance
    return {"frame": slim, "sources": sources, "place": place, "psf": () if psf is None else (psf,)}


def _doubt(run: Run, image: Frame | Stack, sources: Sources) -> None:
    """Tell how many sources of an image without a flat are none: as many as there are holes that look like sources."""
    if not len(sources) or "flat.none" not in {caveat.code for caveat in image.caveats}:
        return
    turned = image.but(data=-image.data) if isinstance(image, Frame) else replace(image, data=-image.data)
    false = len(run(Detect, label="holes", frame=turned))
    run.metric("sources_false", false)
    if false > FALSE * len(sources):
        text = f"{false} holes look like sources turned over: about as many of the {len(sources)} sources are "
        run.caveat("detect.false", text + "the detector's pattern")


def _psf(run: Run, frame: Frame, sources: Sources) -> Psf | None:
    """Return the PSF of one image; None where it has too few stars, and then apertures must do."""
    try:
        psf: Psf = run(ModelPsf, frame=frame, sources=sources)
    except NoSolutionError as error:
        run.caveat("psf.none", f"fluxes are those of apertures: wanted {error.wanted}, found {error.found}")
        return None
    run.metric("psf_stars", psf.stars)
    return psf


def _on_sky(sources: Sources, wcs: Wcs) -> Sources:
    """Return the sources with their places on the sky [deg] as columns."""
    ra, dec = wcs.to_sky(sources.x, sources.y)
    return replace(sources, columns={"ra": ra, "dec": dec, **sources.columns})


def _shape_of_stars(sources: Sources) -> tuple[float, float]:
    """Return FWHM [pixel] and ellipticity of the stars: the median of the sound ones, nan without any."""
    if not len(sources) or "fwhm" not in sources.columns:
        return float("nan"), float("nan")
    sound = (sources.quality == 0) & (sources.flux > 10 * sources.flux_error)
    use = sound if sound.sum() >= 3 else np.ones(len(sources), dtype=np.bool_)
    shapes = [sources.columns.get(name, np.full(len(sources), np.nan))[use] for name in ("fwhm", "ellipticity")]
    known = [shape[np.isfinite(shape)] for shape in shapes]
    fwhm, ellipticity = (float(np.median(shape)) if shape.size else float("nan") for shape in known)
    return fwhm, ellipticity


@recipe(
    "align",
    inputs=("sources", "places"),
    many=("sources", "places"),
    outputs=("alignment", "stars"),
    steps=(ReferenceStars, SolveAstrometry, AlignFrames),
    sets=(CATALOGUES,),
)
def align(run: Run, *, sources: tuple[Sources, ...], places: tuple[Place, ...]) -> dict[str, Any]:
    """Solve the images of one field and fit them together; without a catalogue, register them among themselves."""
    first = places[0]
    stars = _reference_stars(run, first)
    kept = () if stars is None else (stars,)
    solved = tuple(_solved(run, one, place, stars) for one, place in zip(sources, places, strict=True))
    if stars is None and len(sources) == 1:
        return {"alignment": _alone(run, first), "stars": ()}
    try:
        alignment: Alignment = run(
            AlignFrames, sources=sources, shape=first.shape, solutions=solved, catalogue=stars, epoch=first.epoch,
            nominal=_guess(first),
        )  # fmt: skip
    except NoSolutionError as error:
        run.caveat("astrometry.header", f"images were put together by their headers alone: {error.found}")
        return {"alignment": _by_headers(places), "stars": kept}
    for number, why in alignment.left_out:
        run.caveat("align.left_out", f"{places[number].exposure.name} was left out: {why}")
    for place, shift in zip(places, alignment.shifts, strict=True):
        if np.isfinite(shift).all():
            run.metric(f"shift_x/{place.exposure.name}", float(shift[0]), "pixel")
            run.metric(f"shift_y/{place.exposure.name}", float(shift[1]), "pixel")
    if own := [one for one in solved if one is not None]:
        run.metric("astrometry_rms", float(np.median([np.hypot(*one.rms) for one in own])), "arcsec")
        run.metric("astrometry_matches", float(np.median([one.matches for one in own])))
    run.metric("registration_rms", float(np.hypot(*alignment.rms)), "arcsec")
    run.metric("frames_left_out", len(alignment.left_out))
    return {"alignment": alignment, "stars": kept}


def _reference_stars(run: Run, place: Place) -> StarCatalogue | None:
    """Return the stars around a field; None, and what to get, where no catalogue has any."""
    if place.wcs is None:
        run.caveat("catalogue.no_pointing", "no pointing is known: no catalogue was asked, the images lie nowhere")
        return None
    step = cast(ReferenceStars, run.step(ReferenceStars))
    ny, nx = place.shape
    radius = float(np.hypot(ny, nx)) * place.scale / 7200.0 + step.margin
    ra, dec = (float(value) for value in place.wcs.to_sky((nx - 1) / 2, (ny - 1) / 2))
    try:
        found = cone(ra, dec, radius, name=step.catalogue, online=step.online)
    except ReferenceMissingError:
        run.caveat("catalogue.missing", _what_to_get(step))
        return None
    chosen: StarCatalogue = run(ReferenceStars, stars=found)
    run.metric("catalogue_stars", len(chosen))
    return chosen


def _what_to_get(step: ReferenceStars) -> str:
    """Return one clause, the same for every field, on how to come by reference stars."""
    if step.online:
        return "neither the local store nor a service has stars of this field: nightpipe catalogue import TABLE"
    return (
        "the local store has no stars of this field: nightpipe catalogue import TABLE, "
        "or --set ReferenceStars.online=true"
    )


def _solved(run: Run, sources: Sources, place: Place, stars: StarCatalogue | None) -> Astrometry | None:
    """Return an image's own plate solution, None where no rung of the ladder leads to one that may be believed."""
    if stars is None:
        return None
    try:
        found: Astrometry = run(
            SolveAstrometry, sources=sources, shape=place.shape, catalogue=stars, epoch=place.epoch, prior=place.wcs,
            scale=place.scale,
        )  # fmt: skip
    except NoSolutionError as error:
        run.caveat("astrometry.none", f"{place.exposure.name} was not solved by itself: {error.found}")
        return None
    return found


def _guess(place: Place) -> Wcs:
    """Return the first guess of the sky; a plane at the origin where nothing is known of the pointing."""
    if place.wcs is not None:
        return place.wcs
    ny, nx = place.shape
    step = place.scale / 3600.0
    return Wcs((0.0, 0.0), ((nx - 1) / 2.0, (ny - 1) / 2.0), ((-step, 0.0), (0.0, step)), NONE, NONE)


def _alone(run: Run, place: Place) -> Alignment:
    source = {"header": "the header's solution", "pointing": "the telescope's pointing"}.get(
        place.source, "no pointing"
    )
    run.caveat("astrometry.nominal", f"no catalogue: positions follow {source}")
    return _by_headers((place,))


def _by_headers(places: tuple[Place, ...]) -> Alignment:
    solutions = tuple(_unproven(place) for place in places)
    nan = (float("nan"), float("nan"))
    return Alignment(solutions, np.zeros((len(places), 2)), nan, nan, (0,) * len(places))


def _unproven(place: Place) -> Astrometry:
    nan = float("nan")
    return Astrometry(_guess(place), "header", 99, (nan, nan), nan, "", place.epoch, nan, nan, np.zeros((0, 6)))


@recipe(
    "imagestack",
    inputs=("frames", "places", "alignment", "zeropoints"),
    many=("frames", "places"),
    outputs=("stack", "sources"),
    steps=(StackImages, Detect),
    version=2,
)
def imagestack(
    run: Run, *, frames: tuple[Frame, ...], places: tuple[Place, ...], alignment: Alignment, zeropoints: ZeroPoints
) -> dict[str, Any]:
    """Resample the images of a field once, reject what only one of them shows, and add them up; find the sources."""
    names = [place.exposure.name for place in places]
    mine = [k for k, frame in enumerate(frames) if frame.exposure and frame.exposure.name in names]
    known = [
        (frames[k], solution, places[k], zeropoints.frames[k])
        for k in mine
        if (solution := alignment.solutions[k]) is not None
    ]
    stack = run(
        StackImages,
        frames=tuple(frame for frame, _, _, _ in known),
        astrometry=tuple(solution for _, solution, _, _ in known),
        seeing=tuple(place.seeing for _, _, place, _ in known),
        zeropoints=tuple(zero for *_, zero in known) if zeropoints.known else None,
    )
    for name, why in stack.left_out:
        run.caveat("stack.left_out", f"{name} was left out: {why}")
    sources = _on_sky(run(Detect, frame=stack), stack.wcs)
    _doubt(run, stack, sources)
    seeing, ellipticity = _shape_of_stars(sources)
    run.metric("frames_used", len(stack.frames))
    run.metric("frames_left_out", len(frames) - len(stack.frames))
    run.metric("exptime", stack.exptime, "s")
    run.metric("sources", len(sources))
    if np.isfinite(seeing):
        run.metric("stack_seeing", seeing * stack.wcs.scale, "arcsec")
        run.metric("stack_ellipticity", ellipticity)
    return {"stack": stack, "sources": sources}
