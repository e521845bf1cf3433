"""Many images of one field fitted together: an affine map for each, one distortion for all, the stars' places free."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.plate import powers
from nightpipe.maths.robust import mad_std
from nightpipe.maths.tan import plane_of_sky, sky_of_plane

FloatArray = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Cameras:
    """Solutions of f images: `crval` (f, 2) [deg], `cd` (f, 2, 2) [deg/pixel], `crpix`, and one SIP `a`, `b` (k, k)."""

    crval: FloatArray
    cd: FloatArray
    crpix: tuple[float, float]
    a: FloatArray
    b: FloatArray

    def focal(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return undistorted places [pixel from the reference pixel]."""
        u, v = x - self.crpix[0], y - self.crpix[1]
        polynomial = np.polynomial.polynomial.polyval2d
        return u + polynomial(u, v, self.a), v + polynomial(u, v, self.b)


@dataclass(frozen=True)
class Sightings:
    """Stars on images (n,): which `image`, which `star`, where (`x`, `y`), `error` [arcsec per axis].

    `anchor` (m,) are the stars with a catalogue's place `ra`, `dec` [deg] and `anchor_error` [arcsec].
    """

    image: Ints
    star: Ints
    x: FloatArray
    y: FloatArray
    error: FloatArray
    anchor: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    ra: FloatArray = field(default_factory=lambda: np.zeros(0))
    dec: FloatArray = field(default_factory=lambda: np.zeros(0))
    anchor_error: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Joint:
    """The fit: `cameras`, stars' places `sky` (s, 2) [deg].

    `residual` (n, 2) and `anchor_residual` (m, 2) [arcsec] are those of sightings and catalogue, `keep` what was used.
    """

    cameras: Cameras
    sky: FloatArray
    residual: FloatArray
    anchor_residual: FloatArray
    keep: NDArray[np.bool_]
    anchor_keep: NDArray[np.bool_]


def joint_fit(
    start: Cameras,
    seen: Sightings,
    *,
    order: int,
    free_first: bool,
    stiffness: float = 0.0,
    turns: int = 5,
    clip: float = 4.0,
) -> Joint:
    """Return the cameras that make all sightings of a star agree, with each other and with the catalogue.

    Gauss and Newton's steps on residuals in one plane tangent at the field's centre. The places of the stars, two
    unknowns each, are eliminated before the normal equations are solved (Schur's complement), so that their size is six
    per image and the distortion's terms of order 2 to `order` (below 2: none), however many stars there are. The first
    image stands still unless `free_first`: without a catalogue something must. `stiffness`, if not 0, is the fraction
    by which scale and rotation are thought to differ from those of `start`: few stars then cannot bend an image.
    """
    cameras = Cameras(start.crval.copy(), start.cd.copy(), start.crpix, *_padded(start.a, start.b, order))
    centre = _middle(cameras.crval)
    goal = 3600 * np.stack(plane_of_sky(seen.ra, seen.dec, centre), axis=1)
    keep, anchor_keep = np.ones(seen.x.size, np.bool_), np.ones(seen.anchor.size, np.bool_)
    sigma, anchor_sigma = np.hypot(seen.error, 0.05), np.hypot(seen.anchor_error, 0.05)
    for turn in range(turns):
        weight, pull = keep / sigma**2, anchor_keep / anchor_sigma**2
        place = _places(cameras, seen, centre)
        mean = _means(place, goal, seen, weight, pull)
        _newton(cameras, seen, centre, place - mean[seen.star], weight, pull, order,
                free_first=free_first, prior=(start.cd, stiffness))  # fmt: skip
        place = _places(cameras, seen, centre)
        mean = _means(place, goal, seen, weight, pull)
        residual, anchor_residual = place - mean[seen.star], mean[seen.anchor] - goal
        if turn:  # before the first step the residuals are those of the start, not of the stars
            sigma = np.hypot(seen.error, _scatter(residual, keep))
            anchor_sigma = np.hypot(seen.anchor_error, _scatter(anchor_residual, anchor_keep))
            keep = np.abs(residual).max(axis=1) < clip * sigma
            anchor_keep = np.abs(anchor_residual).max(axis=1) < clip * anchor_sigma
    sky = np.stack(sky_of_plane(mean[:, 0] / 3600, mean[:, 1] / 3600, centre), axis=1)
    return Joint(cameras, sky, residual, anchor_residual, keep, anchor_keep)


def _padded(a: FloatArray, b: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
    """Return both polynomials with room for all terms up to `order`."""
    size = max(a.shape[0], b.shape[0], order + 1 if order >= 2 else 1)
    wide = np.zeros((2, size, size))
    for into, part in zip(wide, (a, b), strict=True):
        into[: part.shape[0], : part.shape[1]] = part
    return wide[0], wide[1]


def _middle(crval: FloatArray) -> tuple[float, float]:
    """Return the middle (ra, dec) [deg] of places (f, 2) on the sky, wherever the meridian of zero hours lies."""
    a, d = np.radians(crval[:, 0]), np.radians(crval[:, 1])
    x, y, z = (np.cos(d) * np.cos(a)).mean(), (np.cos(d) * np.sin(a)).mean(), np.sin(d).mean()
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def _places(cameras: Cameras, seen: Sightings, centre: tuple[float, float]) -> FloatArray:
    """Return where the sightings (n, 2) [arcsec] lie in the common plane."""
    f, g = cameras.focal(seen.x, seen.y)
    cd = cameras.cd[seen.image]
    own = np.stack((cd[:, 0, 0] * f + cd[:, 0, 1] * g, cd[:, 1, 0] * f + cd[:, 1, 1] * g))
    place = np.empty((seen.x.size, 2))
    for image, crval in enumerate(cameras.crval):
        row = seen.image == image
        ra, dec = sky_of_plane(own[0, row], own[1, row], (float(crval[0]), float(crval[1])))
        place[row] = 3600 * np.stack(plane_of_sky(ra, dec, centre), axis=1)
    return place


def _means(place: FloatArray, goal: FloatArray, seen: Sightings, weight: FloatArray, pull: FloatArray) -> FloatArray:
    """Return the weighted mean place (s, 2) of each star, the catalogue's among its sightings."""
    count = 1 + max(int(seen.star.max(initial=-1)), int(seen.anchor.max(initial=-1)))
    star, both = np.concatenate((seen.star, seen.anchor)), np.concatenate((weight, pull))
    value = np.concatenate((place, goal))
    total = np.maximum(np.bincount(star, both, count), 1e-300)
    return np.stack([np.bincount(star, both * value[:, k], count) / total for k in (0, 1)], axis=1)


def _scatter(residual: FloatArray, keep: NDArray[np.bool_]) -> float:
    """Return the robust scatter per axis [arcsec] of those kept, 0 for none."""
    return float(np.hypot(*(mad_std(residual[keep, k]) for k in (0, 1)))) / math.sqrt(2) if keep.any() else 0.0


def _newton(
    cameras: Cameras, seen: Sightings, centre: tuple[float, float], residual: FloatArray, weight: FloatArray,
    pull: FloatArray, order: int, *, free_first: bool, prior: tuple[FloatArray, float],
) -> None:  # fmt: skip
    """Move the cameras by one step that lessens the weighted squares of `residual` (n, 2) [arcsec]."""
    from scipy.sparse import csr_matrix, diags_array

    unit = max(float(np.max(np.hypot(seen.x - cameras.crpix[0], seen.y - cameras.crpix[1]))), 1.0)
    rows = [_jacobian(cameras, seen, centre, unit, order, axis) for axis in (0, 1)]
    stars = 1 + max(int(seen.star.max(initial=-1)), int(seen.anchor.max(initial=-1)))
    total = np.bincount(seen.star, weight, stars) + np.bincount(seen.anchor, pull, stars)
    gather = csr_matrix((weight, (seen.star, np.arange(weight.size))), shape=(stars, weight.size))
    size = rows[0].shape[1]
    normal, gradient = np.zeros((size, size)), np.zeros(size)
    for axis, jacobian in enumerate(rows):
        summed = gather @ jacobian
        share = diags_array(1.0 / np.maximum(total, 1e-300)) @ summed
        normal += (jacobian.T @ (diags_array(weight) @ jacobian) - summed.T @ share).toarray()
        gradient += jacobian.T @ (weight * residual[:, axis])
    _stiffen(normal, gradient, cameras.cd, prior, unit)
    free = np.arange(size) >= (0 if free_first else 6)
    block = normal[np.ix_(free, free)]
    scale = np.sqrt(np.maximum(np.diag(block), 1e-30))
    step = np.zeros(size)
    step[free] = -np.linalg.lstsq(block / np.outer(scale, scale), gradient[free] / scale, rcond=1e-13)[0] / scale
    _apply(cameras, step, unit, order)


def _stiffen(
    normal: FloatArray, gradient: FloatArray, cd: FloatArray, prior: tuple[FloatArray, float], unit: float
) -> None:
    """Add to the equations what is thought of the images' matrices before."""
    wanted, share = prior
    if share <= 0:
        return
    weight = 1.0 / (share * 3600 * unit * np.sqrt(np.abs(np.linalg.det(wanted)))) ** 2
    for image, pull in enumerate(weight):
        column = 6 * image + np.array([1, 2, 4, 5])
        normal[column, column] += pull
        gradient[column] += pull * 3600 * unit * (cd[image] - wanted[image]).ravel()


def _jacobian(
    cameras: Cameras, seen: Sightings, centre: tuple[float, float], unit: float, order: int, axis: int
) -> Any:
    """Return the derivatives (n, 6 f + 2 k) of one axis of the common plane, sparse: six of an image, 2 k of all."""
    from scipy.sparse import csr_matrix

    turn = np.stack([_turn(crval, centre) for crval in cameras.crval])
    f, g = (part / unit for part in cameras.focal(seen.x, seen.y))
    own, cd = turn[seen.image, axis], np.einsum("fj,fjk->fk", turn[:, axis], cameras.cd)[seen.image]
    linear = np.stack([o * part for o in own.T for part in (np.ones_like(f), f, g)], axis=1)
    u, v = (seen.x - cameras.crpix[0]) / unit, (seen.y - cameras.crpix[1]) / unit
    terms = [u**p * v**q for p, q in powers(order) if p + q >= 2]
    shared = np.stack([3600 * c * term for c in cd.T for term in terms], axis=1) if terms else np.zeros((f.size, 0))
    n, k, images = f.size, shared.shape[1], len(cameras.crval)
    column = np.concatenate((6 * seen.image[:, None] + np.arange(6), np.tile(6 * images + np.arange(k), (n, 1))), 1)
    start = np.arange(n + 1) * (6 + k)
    return csr_matrix((np.concatenate((linear, shared), 1).ravel(), column.ravel(), start), shape=(n, 6 * images + k))


def _turn(crval: FloatArray, centre: tuple[float, float]) -> FloatArray:
    """Return the matrix (2, 2) from an image's own tangent plane to the common one, at the image's centre."""
    place = (float(crval[0]), float(crval[1]))
    ends = [plane_of_sky(*sky_of_plane(x, y, place), centre) for x, y in ((0.0, 0.0), (1e-3, 0.0), (0.0, 1e-3))]
    points = np.array(ends, np.float64)
    return np.asarray((points[1:] - points[0]).T / 1e-3, np.float64)


def _apply(cameras: Cameras, step: FloatArray, unit: float, order: int) -> None:
    images = len(cameras.crval)
    linear = step[: 6 * images].reshape(images, 2, 3)
    for image, change in enumerate(linear):
        place = (float(cameras.crval[image, 0]), float(cameras.crval[image, 1]))
        cameras.crval[image] = [float(v) for v in sky_of_plane(change[0, 0] / 3600, change[1, 0] / 3600, place)]
        cameras.cd[image] += change[:, 1:] / (3600 * unit)
    shared = step[6 * images :].reshape(2, -1)
    some = [(p, q) for p, q in powers(order) if p + q >= 2] if order >= 2 else []
    for part, values in zip((cameras.a, cameras.b), shared, strict=True):
        for (p, q), value in zip(some, values, strict=True):
            part[p, q] += value / unit ** (p + q)
