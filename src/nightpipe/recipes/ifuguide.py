"""Where a target is among the lenslets, from the stars that the guider saw during the exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError, DataError, NoSolutionError, ReferenceMissingError
from nightpipe.base.recipe import recipe
from nightpipe.base.run import Run
from nightpipe.io.catalogues.cone import cone
from nightpipe.io.guiders import GuiderEpoch, guider_epoch
from nightpipe.io.states import CATALOGUES
from nightpipe.maths.tan import plane_of_sky
from nightpipe.model.detector import Detector, Noise
from nightpipe.model.exposure import Exposure
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.pointing import placed
from nightpipe.model.scene import Finder, Placed
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Astrometry, Wcs
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.steps.imaging.align import AlignFrames
from nightpipe.steps.imaging.background import MatchNoise, SubtractBackground
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.solve import SolveAstrometry
from nightpipe.steps.imaging.stack import StackImages
from nightpipe.steps.imaging.stars import ReferenceStars
from nightpipe.steps.spaxels.place import DrawFinder, PlaceTarget

FloatArray = NDArray[np.float64]
PARTS = ("r", "i", "g", "u")
"""The quadrants of the rainbow camera, those first that see most stars."""
MOST = 10
"""So many frames, evenly over the exposure, are stacked: the table of epochs limits places, not the stack's depth."""


@dataclass(frozen=True)
class Quadrant:
    """One quadrant's stack: where each of its frames lies on the nominal sky, and the sources of the stack."""

    detector: Detector
    frames: tuple[Wcs, ...]
    stack: Stack
    sources: Sources


@recipe(
    "guide",
    inputs=("frames", "exposure"),
    many=("frames",),
    outputs=("place", "finder"),
    steps=(
        *PRELUDE, SubtractBackground, MatchNoise, Detect, AlignFrames, StackImages, ReferenceStars, SolveAstrometry,
        PlaceTarget, DrawFinder,
    ),
    data=("guiders",),
    sets=(CATALOGUES,),
    defaults=(
        ("SubtractBackground.box", 128),
        ("StackImages.extent", "first"),
        ("StackImages.turned", True),
        ("StackImages.least_matches", 0),
    ),
    version=3,
    tells=("guide.",),  # no bias, few frames, no zero point: a spectrum is none the worse for how its guider was read
)  # fmt: skip
def guide(run: Run, *, frames: tuple[RawFrame, ...], exposure: RawFrame) -> dict[str, Any]:
    """Stack the guider's frames of one exposure, solve the deepest stack, and say where the target must be."""
    shot = exposure.exposure
    epoch, target = guider_epoch(shot.instrument, shot.mjd), _target(shot)
    quadrants = _quadrants(run, frames)
    best, solved = _solved(run, quadrants)
    places = np.zeros((0, 2))
    if solved is not None and target is not None:
        places = _places(best, solved.wcs, epoch, target)
        run.metric("guide_drift", float(np.mean(places.std(axis=0))), "arcsec")
    run.metric("guide_frames", len(best.frames) if quadrants else 0)
    place: Placed = run(
        PlaceTarget, places=places, plate=0.0 if solved is None else solved.error, epoch=epoch.error,
        stars=0 if solved is None else solved.matches,
    )  # fmt: skip
    order = (best, *(one for one in quadrants if one is not best))
    finder = () if target is None or not quadrants else (_finder(run, order, solved, target, place, epoch),)
    return {"place": place, "finder": finder}


def _quadrants(run: Run, frames: tuple[RawFrame, ...]) -> tuple[Quadrant, ...]:
    """Return the stack of each quadrant, that with most sources first.

    All quadrants are one detector: the frames are registered by the first one that has stars enough.
    """
    made: list[Quadrant] = []
    shifts: FloatArray | None = None
    for part in PARTS:
        mine = tuple(raw for raw in frames if raw.exposure.setup.filter == part)
        if not mine:
            continue
        cleaned = tuple(_clean(run, raw) for raw in mine[:: -(-len(mine) // MOST)])
        if shifts is None or len(shifts) != len(cleaned):
            shifts = _shifts(run, cleaned)
        if (quadrant := _stacked(run, cleaned, shifts)) is not None:
            made.append(quadrant)
    return tuple(sorted(made, key=lambda one: -len(one.sources)))


def _clean(run: Run, raw: RawFrame) -> Frame:
    """Return one frame without its sky: for places its noise is that which it shows."""
    frame = clean(run, raw, None, None, _by_header(raw.detector))
    return cast(Frame, run(MatchNoise, frame=run(SubtractBackground, frame=frame)))


def _shifts(run: Run, frames: tuple[Frame, ...]) -> FloatArray | None:
    """Return how far each frame's sky lies from that of the first [pixel] (k, 2), None where stars are too few.

    The telescope is guided: a frame that could not be brought in is taken as the telescope held it.
    """
    first = placed(frames[0], float("nan"))
    if len(frames) == 1:
        return np.zeros((1, 2))
    sources = tuple(run(Detect, frame=frame) for frame in frames)
    try:
        found = run(AlignFrames, sources=sources, shape=first.shape, epoch=first.epoch, nominal=first.wcs)
    except NoSolutionError as error:
        run.caveat("guide.unregistered", f"the guider's frames were stacked as they lie: {error.found}")
        return None
    return np.nan_to_num(np.asarray(found.shifts, np.float64))


def _stacked(run: Run, frames: tuple[Frame, ...], shifts: FloatArray | None) -> Quadrant | None:
    first = placed(frames[0], float("nan"))
    if first.wcs is None or frames[0].detector is None:
        run.caveat("guide.pointing", "the guider's headers do not say where the telescope points")
        return None
    known = np.zeros((len(frames), 2)) if shifts is None else shifts
    wcss = tuple(_moved(first.wcs, float(dx), float(dy)) for dx, dy in known)
    solutions = tuple(_taken(wcs, first.epoch) for wcs in wcss)
    try:
        stack: Stack = run(StackImages, frames=frames, astrometry=solutions)
    except BadFrameError as error:
        run.caveat("guide.stack", f"no stack of the guider's frames: {error.found}")
        return None
    return Quadrant(frames[0].detector, wcss, stack, run(Detect, frame=stack))


def _moved(wcs: Wcs, dx: float, dy: float) -> Wcs:
    """Return a sky that lies (dx, dy) [pixel] farther on the image."""
    return Wcs(wcs.crval, (wcs.crpix[0] + dx, wcs.crpix[1] + dy), wcs.cd, wcs.a, wcs.b)


def _taken(wcs: Wcs, epoch: float) -> Astrometry:
    nan = float("nan")
    return Astrometry(wcs, "relative", 0, (nan, nan), nan, "", epoch, nan, nan, np.zeros((0, 6)))


def _solved(run: Run, quadrants: tuple[Quadrant, ...]) -> tuple[Quadrant, Astrometry | None]:
    """Return the deepest stack that can be solved, with its solution; where none can, the deepest without."""
    told = []
    for quadrant in quadrants:
        try:
            return quadrant, _solution(run, quadrant)
        except (DataError, ReferenceMissingError) as error:
            told.append(error.found or error.wanted)
    why = told[0] if told else "no images with a pointing"  # the deepest stack's: the others failed likewise
    run.caveat("guide.frame", f"none of the guider's {len(quadrants)} stacks was solved: {why}")
    return quadrants[0] if quadrants else cast(Quadrant, None), None


def _solution(run: Run, quadrant: Quadrant) -> Astrometry:
    """Return the plate solution of a stack.

    Raises `DataError` without one, `ReferenceMissingError` where no catalogue has stars.
    """
    stack = quadrant.stack
    ny, nx = stack.data.shape
    ra, dec = (float(value) for value in stack.wcs.to_sky((nx - 1) / 2, (ny - 1) / 2))
    epoch = 2000.0 + ((stack.exposure.mjd if stack.exposure else 51544.5) - 51544.5) / 365.25
    found: Astrometry = run(
        SolveAstrometry, sources=quadrant.sources, shape=(ny, nx),
        catalogue=_stars(run, ra, dec, float(np.hypot(ny, nx)) * stack.wcs.scale / 7200.0), epoch=epoch,
        prior=stack.wcs, scale=stack.wcs.scale,
    )  # fmt: skip
    return found


def _stars(run: Run, ra: float, dec: float, radius: float) -> StarCatalogue:
    step = cast(ReferenceStars, run.step(ReferenceStars))
    stars: StarCatalogue = run(
        ReferenceStars, stars=cone(ra, dec, radius + step.margin, name=step.catalogue, online=step.online)
    )
    return stars


def _places(quadrant: Quadrant, solved: Wcs, epoch: GuiderEpoch, target: tuple[float, float]) -> FloatArray:
    """Return where the target lies from the lenslets' middle in each frame (k, 2) [arcsec, east and north]."""
    pixel = field_pixel(quadrant.detector, epoch)
    middles = [solved.to_sky(*quadrant.stack.wcs.to_pixel(*wcs.to_sky(*pixel))) for wcs in quadrant.frames]
    return np.array([offset_of((float(ra), float(dec)), target) for ra, dec in middles])


def field_pixel(detector: Detector, epoch: GuiderEpoch) -> tuple[float, float]:
    """Return the pixel (x, y) of the lenslets' middle on a quadrant's trimmed image: it lies outside of it."""
    x0 = min(amplifier.data[0] for amplifier in detector.amplifiers)
    y0 = min(amplifier.data[2] for amplifier in detector.amplifiers)
    return epoch.pixel[0] - x0, epoch.pixel[1] - y0


def offset_of(middle: tuple[float, float], target: tuple[float, float]) -> tuple[float, float]:
    """Return where `target` (ra, dec) [deg] lies from `middle` [arcsec, east and north]."""
    xi, eta = plane_of_sky(np.array([target[0]]), np.array([target[1]]), middle)
    return float(xi[0] * 3600.0), float(eta[0] * 3600.0)


def _finder(
    run: Run, quadrants: tuple[Quadrant, ...], solved: Astrometry | None, target: tuple[float, float], place: Placed,
    epoch: GuiderEpoch,
) -> Finder:  # fmt: skip
    """Return the picture about the target; without a solution it is about the pixel where the lenslets' middle lies."""
    if solved is None:
        ra, dec = quadrants[0].frames[0].to_sky(*field_pixel(quadrants[0].detector, epoch))
        target = float(ra), float(dec)
    found: Finder = run(
        DrawFinder, stacks=tuple(one.stack for one in quadrants), target=target,
        solved=None if solved is None else solved.wcs, field=(-place.east, -place.north),
        frames=len(quadrants[0].frames),
    )  # fmt: skip
    return found


def _target(shot: Exposure) -> tuple[float, float] | None:
    """Return where the target is on the sky [deg]: by its own coordinates, else by the telescope's."""
    if shot.object_ra is not None and shot.object_dec is not None:
        return shot.object_ra, shot.object_dec
    return None if shot.ra is None or shot.dec is None else (shot.ra, shot.dec)


def _by_header(detector: Detector) -> Noise:
    """Return gain and noise as described: the guider is for places, not for fluxes."""
    amplifiers = detector.amplifiers
    gain, noise = tuple(one.gain for one in amplifiers), tuple(one.read_noise for one in amplifiers)
    none = tuple(0.0 for _ in amplifiers)
    names = tuple(one.name for one in amplifiers)
    return Noise(names, gain, noise, none, none, gain, noise, "header", "header")
