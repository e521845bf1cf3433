"""Where a target is among the lenslets, from the stars that the guider saw during the exposure."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import DataError, ReferenceMissingError
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
from nightpipe.model.scene import Placed
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Astrometry, Wcs
from nightpipe.recipes.detector import PRELUDE, clean
from nightpipe.steps.imaging.background import SubtractBackground
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.solve import SolveAstrometry
from nightpipe.steps.imaging.stars import ReferenceStars

PARTS = ("r", "i", "g")
"""The quadrants of the rainbow camera that are solved, the first one that is there."""

POINTING = 3.0
"""How far [arcsec] the telescope's pointing alone may leave the target from the field's middle."""

MOST = 4


@recipe(
    "guide",
    inputs=("frames", "exposure"),
    many=("frames",),
    outputs=("place",),
    steps=(*PRELUDE, SubtractBackground, Detect, ReferenceStars, SolveAstrometry),
    data=("guiders",),
    sets=(CATALOGUES,),
)
def guide(run: Run, *, frames: tuple[RawFrame, ...], exposure: RawFrame) -> dict[str, Any]:
    """Solve the guider's frames of one exposure, and say where among the lenslets its target must be."""
    shot = exposure.exposure
    epoch = guider_epoch(shot.instrument, shot.mjd)
    raws = _chosen(frames)
    found = [place for raw in raws if (place := _where(run, raw, shot, epoch)) is not None]
    if not found:
        text = f"none of {len(raws)} guider frames was solved: the target is looked for where the telescope points"
        caveat = Caveat("guide.unsolved", text)
        return {"place": Placed(0.0, 0.0, np.eye(2) * POINTING**2, "header", caveats=(caveat,))}
    table = np.array([(east, north, error) for east, north, error, _ in found])
    east, north = np.median(table[:, :2], axis=0)
    spread = float(np.mean(table[:, :2].std(axis=0)))
    error2 = float(np.median(table[:, 2]) ** 2 + spread**2) / len(found) + epoch.error**2
    run.metric("guide_frames", len(found))
    run.metric("guide_drift", spread, "arcsec")
    stars = float(sum(matches for *_, matches in found))
    return {"place": Placed(float(east), float(north), np.eye(2) * error2, "guider", spread=stars)}


def _chosen(frames: tuple[RawFrame, ...]) -> tuple[RawFrame, ...]:
    """Return the frames of the best quadrant, evenly over the exposure."""
    for part in PARTS:
        mine = [raw for raw in frames if raw.exposure.setup.filter == part]
        if mine:
            return tuple(mine[:: -(-len(mine) // MOST)])
    return frames[:MOST]


def _where(run: Run, raw: RawFrame, shot: Exposure, epoch: GuiderEpoch) -> tuple[float, float, float, int] | None:
    """Return east, north and error [arcsec] of the target by one frame, and the stars matched; None unsolved."""
    ra, dec = _target(shot)
    if ra is None or dec is None:
        return None
    try:
        solved = _solved(run, clean(run, raw, None, None, _by_header(raw.detector)))
    except (DataError, ReferenceMissingError) as error:
        run.caveat("guide.frame", f"{raw.exposure.name} was not solved: {error.found or error.wanted}")
        return None
    east, north = offset_of(solved.wcs, raw.detector, epoch, ra, dec)
    return east, north, solved.error, solved.matches


def offset_of(wcs: Wcs, detector: Detector, epoch: GuiderEpoch, ra: float, dec: float) -> tuple[float, float]:
    """Return where (ra, dec) [deg] lies from the lenslets' middle [arcsec, east and north]."""
    x0 = min(amplifier.data[0] for amplifier in detector.amplifiers)
    y0 = min(amplifier.data[2] for amplifier in detector.amplifiers)
    middle = wcs.to_sky(epoch.pixel[0] - x0, epoch.pixel[1] - y0)
    xi, eta = plane_of_sky(np.array([ra]), np.array([dec]), (float(middle[0]), float(middle[1])))
    return float(xi[0] * 3600.0), float(eta[0] * 3600.0)


def _target(shot: Exposure) -> tuple[float | None, float | None]:
    if shot.object_ra is not None and shot.object_dec is not None:
        return shot.object_ra, shot.object_dec
    return shot.ra, shot.dec


def _by_header(detector: Detector) -> Noise:
    """Return gain and noise as described: the guider is for places, not for fluxes."""
    amplifiers = detector.amplifiers
    gain, noise = tuple(one.gain for one in amplifiers), tuple(one.read_noise for one in amplifiers)
    none = tuple(0.0 for _ in amplifiers)
    names = tuple(one.name for one in amplifiers)
    return Noise(names, gain, noise, none, none, gain, noise, "header", "header")


def _solved(run: Run, frame: Frame) -> Astrometry:
    """Return the plate solution of one frame.

    Raises `DataError` without one, `ReferenceMissingError` where no catalogue has stars.
    """
    frame = run(SubtractBackground, frame=frame)
    sources = run(Detect, frame=frame)
    place = placed(frame, float("nan"))
    if place.wcs is None:
        raise DataError("a pointing of the guider", "none in the header", "the next frame")
    ny, nx = place.shape
    ra, dec = (float(value) for value in place.wcs.to_sky((nx - 1) / 2, (ny - 1) / 2))
    stars = _stars(run, ra, dec, float(np.hypot(ny, nx)) * place.scale / 7200.0)
    found: Astrometry = run(
        SolveAstrometry, sources=sources, shape=place.shape, catalogue=stars, epoch=place.epoch, prior=place.wcs,
        scale=place.scale,
    )  # fmt: skip
    return found


def _stars(run: Run, ra: float, dec: float, radius: float) -> StarCatalogue:
    step = cast(ReferenceStars, run.step(ReferenceStars))
    stars: StarCatalogue = run(
        ReferenceStars, stars=cone(ra, dec, radius + step.margin, name=step.catalogue, online=step.online)
    )
    return stars
