"""From a guess of where an image points to its plate solution: pairs and fit in turn, ever closer, then the odds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.plate import Plate, choose_order, fit_plate, fit_radial, log_odds
from nightpipe.maths.starlists import mutual
from nightpipe.maths.tan import plane_of_sky, sky_of_plane
from nightpipe.model.wcs import Wcs
from nightpipe.steps.imaging.starfield import References, StarField, in_frame

FloatArray = NDArray[np.float64]
Ints = NDArray[np.int64]
TERMS = {1: 3, 2: 6, 3: 10, 4: 15, 5: 21}
"""Terms per axis of each order of distortion."""
RADIAL = 4
"""Terms per axis, rounded up, of a distortion along the radius alone."""
RADIAL_STARS = (10, 60)
"""From and up to so many stars that is tried: more tell all terms."""
AFFINE_STARS = 6
SURE_STARS = 20
"""Stars from which on the shape of the pixels is fitted in any case."""
ROUGH = 500
"""Stars of the image, the brightest, that lead a guess to its place."""
SIP_STARS = 2.5
"""Stars per term that a distortion needs."""


@dataclass(frozen=True)
class Guess:
    """Where the image may point: a `wcs` true to `radius` [pixel], one of exp(`space`) that were thought possible."""

    wcs: Wcs
    radius: float
    space: float
    turned: bool = False


@dataclass(frozen=True)
class Settled:
    """A solution with its pairs (image star i, reference j), residuals (2, n) [arcsec] and the odds after its price.

    `terms` are those of its polynomial along one axis.
    """

    wcs: Wcs
    i: Ints
    j: Ints
    residual: FloatArray
    odds: float
    error: float
    terms: int

    @property
    def rms(self) -> tuple[float, float]:
        """Return the scatter [arcsec] along ra cos dec and dec."""
        x, y = np.sqrt(np.mean(self.residual**2, axis=1)) if self.i.size else (math.nan, math.nan)
        return float(x), float(y)


def settle(guess: Guess, stars: StarField, near: References, *, order: int) -> Settled | None:
    """Return the solution that grows from a `guess`, None where not even three stars pair.

    While the fit is rough only as many reference stars are looked at as would be as bright as the image's.
    """
    wcs, radius = guess.wcs, guess.radius
    first = stars.brightest(ROUGH)
    rough = in_frame(wcs, first, near, 2 * radius)[0][: 2 * len(first) + 30]
    some = References(near.ra[rough], near.dec[rough], near.error[rough], near.name)
    reach = max(radius, 3.0)
    for _ in range(8):
        i, j = _pairs(wcs, first, some, reach)
        if i.size < 3:
            return None
        wcs, residual = _improved(wcs, first, some, i, j, turned=guess.turned)
        scatter = 1.5 * float(np.median(np.hypot(*residual))) / wcs.scale
        last, reach = reach, min(max(4 * scatter, 1.5), 0.6 * reach if reach > 3 else reach)
        if reach > 0.95 * last:
            break
    return _finished(wcs, stars, near, reach, order, guess)


def _pairs(wcs: Wcs, stars: StarField, near: References, reach: float) -> tuple[Ints, Ints]:
    row, x, y = in_frame(wcs, stars, near, reach)
    i, j = mutual(stars.x, stars.y, x, y, reach)
    return i, row[j]


def _improved(
    wcs: Wcs, stars: StarField, near: References, i: Ints, j: Ints, *, turned: bool
) -> tuple[Wcs, FloatArray]:
    """Return the solution bettered by the pairs, as freely as their number allows, and residuals [arcsec]."""
    sound = stars.sound[i]
    if sound.sum() < 3:
        sound = np.ones(i.size, np.bool_)
    i, j = i[sound], j[sound]
    if i.size < AFFINE_STARS or (turned and i.size < 10):
        return rigid(wcs, stars.x[i], stars.y[i], near.ra[j], near.dec[j], turn=not turned or i.size >= AFFINE_STARS)
    plate = fit_plate(stars.x[i], stars.y[i], near.ra[j], near.dec[j], crpix=stars.centre,
                      crval=_sky(wcs, stars.centre), order=2 if i.size >= 30 else 1)  # fmt: skip
    return as_wcs(plate), plate.residual[:, plate.keep]


def rigid(
    wcs: Wcs, x: FloatArray, y: FloatArray, ra: FloatArray, dec: FloatArray, *, turn: bool
) -> tuple[Wcs, FloatArray]:
    """Return `wcs` shifted, and with `turn` rotated and scaled, to fit few stars (n,), and residuals (2, n) [arcsec].

    Its shape and distortion stay: a handful of stars could not tell them.
    """
    here = _complex(*plane_of_sky(*wcs.to_sky(x, y), wcs.crval))
    there = _complex(*plane_of_sky(ra, dec, wcs.crval))
    away = here - here.mean()
    spread = float(np.sum(np.abs(away) ** 2))
    factor = complex(np.sum(np.conj(away) * (there - there.mean())) / spread) if turn and spread > 0 else 1.0 + 0j
    offset = complex(there.mean() - factor * here.mean())
    matrix = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]]) @ np.array(wcs.cd)
    residual = 3600.0 * (factor * here + offset - there)
    centre = sky_of_plane(offset.real, offset.imag, wcs.crval)
    moved = replace(wcs, crval=(float(centre[0]), float(centre[1])), cd=_rows(matrix))
    return moved, np.stack((residual.real, residual.imag))


def _complex(x: FloatArray, y: FloatArray) -> NDArray[np.complex128]:
    return np.asarray(x + 1j * y, np.complex128)


def _rows(matrix: FloatArray) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = matrix.tolist()
    return (a, b), (c, d)


def as_wcs(plate: Plate) -> Wcs:
    """Return a plate's numbers as a `Wcs`."""
    return Wcs(plate.crval, plate.crpix, _rows(plate.cd), plate.a, plate.b)


def _sky(wcs: Wcs, place: tuple[float, float]) -> tuple[float, float]:
    ra, dec = wcs.to_sky(*place)
    return float(ra), float(dec)


def _finished(
    wcs: Wcs, stars: StarField, near: References, reach: float, order: int, guess: Guess
) -> Settled | None:  # fmt: skip
    """Return the last fit, with all reference stars and the distortion that the stars can bear."""
    best: tuple[Wcs, Ints, Ints, FloatArray, float, int] | None = None
    for _ in range(3):
        i, j = _pairs(wcs, stars, near, reach)
        sound = stars.sound[i]
        i, j = (i, j) if sound.sum() < 3 else (i[sound], j[sound])
        if i.size < 3:
            return None
        best = _fitted(wcs, stars, near, i, j, order=order, turned=guess.turned)
        wcs, residual = best[0], best[3]
        scatter = float(np.sqrt(np.mean(residual**2))) / wcs.scale
        closer = min(max(5 * scatter, 1.0), reach)
        if closer > 0.9 * reach:
            break
        reach = closer
    if best is None or not _sane(best[0], stars):
        return None
    return _with_odds(*best, stars, near, guess)


def _fitted(
    wcs: Wcs, stars: StarField, near: References, i: Ints, j: Ints, *, order: int, turned: bool
) -> tuple[Wcs, Ints, Ints, FloatArray, float, int]:
    if i.size < SURE_STARS:
        turn = not turned or i.size >= AFFINE_STARS
        moved, residual = rigid(wcs, stars.x[i], stars.y[i], near.ra[j], near.dec[j], turn=turn)
        unseen = float(np.median(np.hypot(*residual) / (1 - _leverage(stars.x[i], stars.y[i], turn=turn))))
    if i.size < AFFINE_STARS:
        scatter = math.sqrt(float(np.sum(residual**2)) / (2 * i.size - (4 if turn else 2)))
        return moved, i, j, residual, scatter / math.sqrt(i.size), 2
    error = np.hypot(stars.error[i] * wcs.scale, near.error[j])
    degrees = [k for k in range(1, order + 1) if k == 1 or i.size >= SIP_STARS * TERMS[k]]
    places = stars.x[i], stars.y[i], near.ra[j], near.dec[j]
    centre, sky = stars.centre, _sky(wcs, stars.centre)
    plates = {
        TERMS[degree]: fit_plate(*places, crpix=centre, crval=sky, order=degree, error=error) for degree in degrees
    }
    if order >= 3 and RADIAL_STARS[0] <= i.size <= RADIAL_STARS[1]:
        plates[RADIAL] = fit_radial(*places, crpix=centre, crval=sky, error=error)
    chosen = choose_order(plates)
    while chosen > TERMS[1] and not _sane(as_wcs(plates[chosen]), stars):
        chosen = max(terms for terms in plates if terms < chosen)
    plate = plates[chosen]
    kept = plate.keep
    if i.size < SURE_STARS and unseen < 1.05 * float(np.median(plate.press)):
        scatter = math.sqrt(float(np.mean(residual**2)))
        return moved, i, j, residual, scatter / math.sqrt(i.size), 2
    return as_wcs(plate), i[kept], j[kept], plate.residual[:, kept], plate.error, chosen


def _leverage(x: FloatArray, y: FloatArray, *, turn: bool) -> FloatArray:
    """Return how much of its own place each star (n,) tells a shift, or with `turn` a similarity, at most 0.99."""
    away = (x - x.mean()) ** 2 + (y - y.mean()) ** 2
    share = 1.0 / x.size + (away / max(float(away.sum()), 1e-12) if turn else 0.0)
    return np.minimum(np.full(x.size, share), 0.99)


def _sane(wcs: Wcs, stars: StarField) -> bool:
    """Tell whether pixels are nearly square and the distortion gentle up to the corners."""
    values = np.linalg.svd(np.array(wcs.cd), compute_uv=False)
    if not np.isfinite(values).all() or values[1] < 0.97 * values[0]:
        return False
    if not wcs.a.size:
        return True
    ny, nx = stars.shape
    u, v = (np.array(edge) for edge in ((0.0, nx, 0.0, nx), (0.0, 0.0, ny, ny)))
    plain = replace(wcs, a=np.zeros((0, 0)), b=np.zeros((0, 0)))
    back = plain.to_pixel(*wcs.to_sky(u, v))
    return bool(np.hypot(back[0] - u, back[1] - v).max() < 0.03 * stars.half_diagonal)


def _with_odds(
    wcs: Wcs, i: Ints, j: Ints, residual: FloatArray, error: float, terms: int,
    stars: StarField, near: References, guess: Guess,
) -> Settled:  # fmt: skip
    """Return the solution with the log odds of its matches, what was searched and what was fitted paid for.

    Both lists are cut at a like number, brightest first, so that neither depth decides. One similarity is priced by the
    number of poses thought possible; every further term costs one of the best matches.
    """
    some = min(len(stars), 300)
    row, x, y = in_frame(wcs, stars, near, 0.0)
    many = min(row.size, 2 * some + 30)
    at, to = mutual(stars.x[:some], stars.y[:some], x[:many], y[:many], 10.0)
    apart = np.full(some, np.inf)
    apart[at] = np.hypot(stars.x[at] - x[to], stars.y[at] - y[to])
    sigma = max(float(np.sqrt(np.mean(residual**2))) / wcs.scale, 0.25)
    area = float(stars.shape[0] * stars.shape[1])
    odds = log_odds(apart, sigma, area, many, free=terms - 2) - guess.space
    return Settled(wcs, i, j, residual, odds, error, terms)
