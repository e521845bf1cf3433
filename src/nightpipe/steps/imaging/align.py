"""The dithers of a field brought together: one fit of all their stars, with a catalogue or among themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.dithers import Cameras, Joint, Sightings, joint_fit
from nightpipe.maths.plate import fit_plate
from nightpipe.maths.starlists import mutual
from nightpipe.maths.tan import plane_of_sky
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Alignment, Astrometry, Wcs
from nightpipe.steps.imaging.settle import as_wcs
from nightpipe.steps.imaging.solve import SolveAstrometry
from nightpipe.steps.imaging.starfield import References, StarField, references, star_field

FloatArray = NDArray[np.float64]
Ints = NDArray[np.int64]


class AlignFrames(Step):
    """Fit the frames of one field together: an affine map for each, one distortion for all of them."""

    version: ClassVar[int] = 2
    order: int = parameter(3, "order of the distortion that all frames share; 1 for none", ge=1, le=5)
    radius: float = parameter(2.0, "how far a star's places in two solved frames may lie apart", unit="pixel", gt=0)
    search: float = parameter(0.25, "how far frames without a solution may be apart", unit="field", gt=0, le=1)
    min_stars: int = parameter(3, "stars that a frame must share with the others", ge=3)
    stiffness: float = parameter(
        3e-4, "by how much scale and rotation may differ between frames that no catalogue ties, as a fraction", gt=0
    )
    clip: float = parameter(4.0, "stars whose place differs by more are left out", unit="sigma", gt=1)

    def run(
        self,
        sources: tuple[Sources, ...],
        shape: tuple[int, int],
        solutions: tuple[Astrometry | None, ...] = (),
        catalogue: StarCatalogue | None = None,
        *,
        epoch: float = 2000.0,
        nominal: Wcs | None = None,
    ) -> Alignment:
        """Return the frames' common solution; all frames have one `shape` (ny, nx) and come in order of `solutions`.

        With `catalogue` (at the `epoch` [Julian year] of the exposures) the field is tied to it; without, frames are
        brought onto the first one that is solved, or onto the one with most stars, whose sky then is `nominal` (a plane
        of one arcsec per pixel where that is not given) and as wrong as that is: a caveat says so.

        Raises
        ------
        NoSolutionError
            Not even two frames (with a catalogue: one) share `min_stars` stars.
        """
        fields = [star_field(one, shape) for one in sources]
        known = list(solutions) or [None] * len(sources)
        start, failed = self._start(sources, fields, known, nominal, shape)
        rows = [k for k, wcs in enumerate(start) if wcs is not None]
        seen = self._sightings(fields, start, rows, catalogue, epoch)
        counts = np.bincount(seen.image, minlength=len(rows))
        poor = {rows[k]: f"{counts[k]} stars in common" for k in range(len(rows)) if counts[k] < self.min_stars}
        if poor:
            start = [None if k in poor else wcs for k, wcs in enumerate(start)]
            rows = [k for k in rows if k not in poor]
        if poor and rows:
            seen = self._sightings(fields, start, rows, catalogue, epoch)
        if not rows or len(rows) < (1 if seen.anchor.size else 2) or not seen.x.size:
            found = "; ".join(f"frame {k + 1}: {why}" for k, why in sorted((failed | poor).items()))
            raise NoSolutionError("frames that share stars", found, "look at the frames' stars, or solve each alone")
        return self._aligned(fields, start, rows, seen, failed | poor, catalogue, epoch, known)

    def _start(
        self, sources: tuple[Sources, ...], fields: list[StarField], known: list[Astrometry | None],
        nominal: Wcs | None, shape: tuple[int, int],
    ) -> tuple[list[Wcs | None], dict[int, str]]:  # fmt: skip
        """Return a first solution of each frame, None and the reason where there is none."""
        solved = [k for k, one in enumerate(known) if one is not None]
        first = max(range(len(fields)), key=lambda k: (k in solved, len(fields[k])))
        one = known[first]
        base = one.wcs if one is not None else nominal or _flat(shape)
        start: list[Wcs | None] = [None if one is None else one.wcs for one in known]
        start[first], failed = base, {}
        catalogue = as_catalogue(sources[first], base, "the first frame")
        for k in range(len(fields)):
            if start[k] is None:
                try:
                    start[k] = self._registered(sources[k], shape, catalogue, base)
                except NoSolutionError as error:
                    failed[k] = error.found
        return start, failed

    def _registered(self, sources: Sources, shape: tuple[int, int], catalogue: StarCatalogue, base: Wcs) -> Wcs:
        """Return where a frame lies on the sky of another."""
        field = base.scale * max(shape) / 3600
        solver = SolveAstrometry(
            rungs=("offset", "quads"), offset=3600 * self.search * field, search=self.search * field, order=1,
            scale_error=0.02, max_rms=1.5 * base.scale, parity=base.parity, odds=1e4,
        )  # fmt: skip
        found = solver.run(sources, shape, catalogue, epoch=catalogue.epoch, prior=base).wcs
        return replace(base, crval=_sky_at(found, base.crpix)) if self._unturned(found, base) else found

    def _unturned(self, found: Wcs, base: Wcs) -> bool:
        """Tell whether two frames have the same scale and rotation within what few stars can tell."""
        return bool(np.abs(np.array(found.cd) - base.cd).max() < 5e-3 * base.scale / 3600)

    def _sightings(
        self, fields: list[StarField], start: list[Wcs | None], rows: list[int], catalogue: StarCatalogue | None,
        epoch: float,
    ) -> Sightings:  # fmt: skip
        """Return which stars are the same, on the frames and in the catalogue; those seen once are left out."""
        solved = [wcs for wcs in start if wcs is not None]
        centre, reach = solved[0].crval, self.radius * solved[0].scale / 3600
        anchor = None if catalogue is None else references(catalogue, epoch)
        if anchor is not None:
            wide = 2 * max(field.half_diagonal for field in fields) * solved[0].scale / 3600
            anchor = anchor.within(centre, wide)
        places = [] if anchor is None else [np.stack(plane_of_sky(anchor.ra, anchor.dec, centre), axis=1)]
        for k in rows:
            wcs = start[k]
            if wcs is not None:
                places.append(np.stack(plane_of_sky(*wcs.to_sky(fields[k].x, fields[k].y), centre), axis=1))
        star = _same(places, reach)
        lists = star if anchor is None else star[1:]
        count = np.bincount(np.concatenate(star))
        keep = [(count[ids] > 1) & fields[k].sound for ids, k in zip(lists, rows, strict=True)]
        return _collected(fields, rows, lists, keep, anchor, solved[0].scale)

    def _aligned(
        self, fields: list[StarField], start: list[Wcs | None], rows: list[int], seen: Sightings,
        left_out: dict[int, str], catalogue: StarCatalogue | None, epoch: float, known: list[Astrometry | None],
    ) -> Alignment:  # fmt: skip
        tied = seen.anchor.size >= max(self.min_stars, 3)
        cameras = _cameras([wcs for wcs in start if wcs is not None], fields[0])
        order = self._order(seen, tied=tied)
        stiffness = 0.0 if tied else self.stiffness
        joint = joint_fit(cameras, seen, order=order, free_first=tied, stiffness=stiffness, clip=self.clip)
        name = catalogue.name if catalogue is not None and tied else "the frames among themselves"
        solutions: list[Astrometry | None] = [None] * len(fields)
        for number, k in enumerate(rows):
            solutions[k] = _solution(joint, seen, number, known[k], name, epoch, tied=tied)
        rms, tie = _rms(joint.residual[joint.keep]), _rms(joint.anchor_residual[joint.anchor_keep])
        stars = tuple(0 if one is None else one.matches for one in solutions)
        caveats = (
            ()
            if tied
            else (
                Caveat(
                    "astrometry.relative", "no star of a catalogue ties the images: places are right only to each other"
                ),
            )
        )
        gone = tuple(sorted(left_out.items()))
        return Alignment(tuple(solutions), _shifts(solutions, fields[0]), rms, tie, stars, gone, caveats)

    def _order(self, seen: Sightings, *, tied: bool) -> int:
        """Return the order of distortion that the sightings bear; without a catalogue it could not be told."""
        enough = [k for k in range(2, self.order + 1) if seen.anchor.size >= 3 * (k + 1) * (k + 2) // 2]
        return max(enough, default=1) if tied else 1


def as_catalogue(sources: Sources, wcs: Wcs, name: str) -> StarCatalogue:
    """Return the sources of an image as a catalogue: what other images of its field can be matched with."""
    good = np.flatnonzero(np.isfinite(sources.x) & np.isfinite(sources.flux) & (sources.flux > 0))
    ra, dec = wcs.to_sky(sources.x[good], sources.y[good])
    zero = np.zeros(good.size)
    error = np.nan_to_num(np.hypot(sources.x_error[good], sources.y_error[good]), posinf=0) * wcs.scale / math.sqrt(2)
    mags = {"own": -2.5 * np.log10(sources.flux[good])}
    return StarCatalogue(name, ra, dec, 2000.0, wcs.crval, 180.0, zero, zero, error, mags)


def _sky_at(wcs: Wcs, place: tuple[float, float]) -> tuple[float, float]:
    ra, dec = wcs.to_sky(*place)
    return float(ra), float(dec)


def _flat(shape: tuple[int, int]) -> Wcs:
    """Return a plane of one arcsec per pixel on the equator, east left as on the sky."""
    return Wcs((0.0, 0.0), ((shape[1] - 1) / 2, (shape[0] - 1) / 2), ((-1 / 3600, 0.0), (0.0, 1 / 3600)))


def _same(places: list[FloatArray], reach: float) -> list[Ints]:
    """Return a star's number for each place of each list: lists are matched one by one with all stars known by then."""
    known = places[0]
    numbers = [np.arange(len(known))]
    for place in places[1:]:
        ids = np.full(len(place), -1, np.int64)
        i, j = mutual(place[:, 0], place[:, 1], known[:, 0], known[:, 1], reach)
        ids[i] = j
        new = ids < 0
        ids[new] = len(known) + np.arange(new.sum())
        known = np.concatenate((known, place[new]))
        numbers.append(ids)
    return numbers


def _collected(
    fields: list[StarField], rows: list[int], lists: list[Ints], keep: list[NDArray[np.bool_]],
    anchor: References | None, scale: float,
) -> Sightings:  # fmt: skip
    """Return the sightings kept, stars numbered anew without gaps."""
    image = np.concatenate([np.full(int(k.sum()), n) for n, k in enumerate(keep)])
    old = np.concatenate([ids[k] for ids, k in zip(lists, keep, strict=True)])
    x, y, error = (
        np.concatenate([getattr(fields[row], name)[k] for row, k in zip(rows, keep, strict=True)])
        for name in ("x", "y", "error")
    )
    stars, star = np.unique(old, return_inverse=True)
    if anchor is None:
        return Sightings(image, star, x, y, error * scale)
    tied = np.flatnonzero(stars < len(anchor))
    ids = stars[tied]
    return Sightings(image, star, x, y, error * scale, tied, anchor.ra[ids], anchor.dec[ids], anchor.error[ids])


def _cameras(start: list[Wcs], field: StarField) -> Cameras:
    """Return the frames' first solutions with one reference pixel, and the distortion of the frame that has one."""
    first = next((wcs for wcs in start if wcs.a.size), start[0])
    same = [wcs if wcs.crpix == first.crpix else _recentred(wcs, first.crpix, field) for wcs in start]
    crval, cd = np.array([wcs.crval for wcs in same], np.float64), np.array([wcs.cd for wcs in same], np.float64)
    return Cameras(crval, cd, first.crpix, first.a, first.b)


def _recentred(wcs: Wcs, crpix: tuple[float, float], field: StarField) -> Wcs:
    """Return nearly the same solution with another reference pixel."""
    x, y = (part.ravel() for part in np.meshgrid(*(np.linspace(0, size - 1, 8) for size in field.shape[::-1])))
    ra, dec = wcs.to_sky(x, y)
    centre = wcs.to_sky(*crpix)
    return as_wcs(fit_plate(x, y, ra, dec, crpix=crpix, crval=(float(centre[0]), float(centre[1])), order=1, clip=1e9))


def _solution(
    joint: Joint, seen: Sightings, number: int, known: Astrometry | None, name: str, epoch: float, *, tied: bool
) -> Astrometry:
    """Return one frame's part of the joint fit."""
    cameras = joint.cameras
    (a, b), (c, d) = cameras.cd[number].tolist()
    bent = cameras.a.shape[0] > 2
    none = np.zeros((0, 0))
    wcs = Wcs(
        (float(cameras.crval[number, 0]), float(cameras.crval[number, 1])), cameras.crpix, ((a, b), (c, d)),
        cameras.a.copy() if bent else none, cameras.b.copy() if bent else none,
    )  # fmt: skip
    row = np.flatnonzero((seen.image == number) & joint.keep)
    rms = _rms(joint.residual[row])
    pairs = np.column_stack((seen.x[row], seen.y[row], joint.sky[seen.star[row]], joint.residual[row]))
    error = math.hypot(*rms) / math.sqrt(2 * max(row.size, 1))
    shift, odds = (known.shift, known.log_odds) if known is not None else (0.0, math.nan)
    method = "joint" if tied else "relative"
    return Astrometry(wcs, method, int(row.size), rms, error, name, epoch, shift, odds, pairs)


def _rms(residual: FloatArray) -> tuple[float, float]:
    if not residual.size:
        return math.nan, math.nan
    x, y = np.sqrt(np.mean(residual**2, axis=0))
    return float(x), float(y)


def _shifts(solutions: list[Astrometry | None], field: StarField) -> FloatArray:
    """Return where the centre of the first solved frame lies in each frame, less the centre [pixel]."""
    shifts = np.full((len(solutions), 2), np.nan)
    first = next(one for one in solutions if one is not None)
    sky = first.wcs.to_sky(*field.centre)
    for k, one in enumerate(solutions):
        if one is not None:
            x, y = one.wcs.to_pixel(*sky)
            shifts[k] = float(x) - field.centre[0], float(y) - field.centre[1]
    return shifts
