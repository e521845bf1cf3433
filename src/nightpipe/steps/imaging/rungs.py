"""The rungs of the ladder: each gives guesses of where an image points, likely ones first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.quadmatch import DEPTHS, Depth, Plane, poses, quads_of
from nightpipe.maths.starlists import shifts
from nightpipe.maths.tan import sky_of_plane
from nightpipe.model.wcs import Wcs
from nightpipe.steps.imaging.settle import Guess
from nightpipe.steps.imaging.starfield import References, StarField, in_frame

FloatArray = NDArray[np.float64]
PATCH = 4.0
"""Radius [deg] of the planes on which a wide catalogue is searched: shapes are true to 0.25% up to their edge."""
LEAST = 2.0
"""Log odds of a pose, its own four stars not counted, below which it is not worth a fit."""
SCALES = tuple(0.05 * 1.3**k for k in range(24))
"""Scales [arcsec/pixel] that are tried where none is known."""


def from_header(prior: Wcs, radius: float) -> Iterator[Guess]:
    """Give the header's own solution, true to `radius` [pixel]."""
    yield Guess(prior, radius, 2 * math.log(max(radius, 1.0)), turned=True)
    yield Guess(prior, radius, 2 * math.log(max(radius, 1.0)) + 2.0)


def by_offset(prior: Wcs, stars: StarField, near: References, radius: float, tolerance: float) -> Iterator[Guess]:
    """Give the shifts of the `prior`, none longer than `radius` [pixel], on which most stars agree.

    Scale and rotation must be known well enough that the image's corners stay within `tolerance` [pixel].
    """
    some = min(len(stars), 150)
    _, x, y = in_frame(prior, stars, near, radius)
    # as many reference stars to an area as the image has, or two each
    share = (1 + 2 * radius / stars.shape[0]) * (1 + 2 * radius / stars.shape[1])
    many = int(min(x.size, (2 * some + 20) * share, 3000))
    space = math.log(math.pi * max(radius, 2.0) ** 2)
    for shift in shifts(stars.x[:some], stars.y[:some], x[:many], y[:many], radius, tolerance, most=6):
        at = prior.to_sky(prior.crpix[0] + shift.x, prior.crpix[1] + shift.y)
        yield Guess(prior.moved(float(at[0]), float(at[1])), 2 * tolerance, space + 2.0)


@dataclass(frozen=True)
class Hunt:
    """What a search knows: `scale` [arcsec/pixel] (None: nothing) within 1 +- `spread`, `parity` (0: either)."""

    scale: float | None
    spread: float
    parity: int


def by_quads(
    stars: StarField,
    hunt: Hunt,
    patches: list[tuple[tuple[float, float], Plane]],
    area: float,
    depths: tuple[Depth, ...] = DEPTHS,
) -> Iterator[Guess]:
    """Give where the stars' quads are found again on the `patches` of the sky, of `area` [deg2] together.

    The likeliest guess of all patches comes first; a deeper search only follows where the caller goes on asking.
    """
    picture = stars.picture()
    scales = [(hunt.scale, hunt.spread)] if hunt.scale else [(scale, 0.15) for scale in SCALES]
    for depth in (depth for depth in depths if len(stars) >= depth.least):
        found, table = [], quads_of(picture, depth, hunt.parity)
        for arcsec, spread in scales:
            space = pose_space(area, stars, arcsec / 3600, spread, hunt) + math.log(len(scales))
            for centre, plane in patches:
                best = poses(picture, table, plane, arcsec / 3600, spread, depth=depth)
                found += [(odds, centre, pose, space) for odds, pose in zip(best.odds, best.pose, strict=True)]
        found.sort(key=lambda one: -one[0])
        for _, centre, pose, space in [one for one in found[:12] if one[0] > LEAST]:
            yield Guess(posed(pose, centre, stars), max(3.0, 0.007 * stars.side), space)


def posed(pose: FloatArray, centre: tuple[float, float], stars: StarField) -> Wcs:
    """Return the `Wcs` of a pose on the plane tangent at `centre`, its reference pixel the middle of the image."""
    a, b, c, d, hand = (float(value) for value in pose)
    crval = sky_of_plane(c, d, centre)
    # meridians lean against the patch's: the plane's north at the image is not the sky's
    north = sky_of_plane(c, d + 1e-4, centre)
    lean = math.atan2(
        math.sin(math.radians(float(north[0]) - float(crval[0]))) * math.cos(math.radians(float(crval[1]))),
        math.radians(float(north[1]) - float(crval[1])),
    )
    cos, sin = math.cos(lean), math.sin(lean)
    # the plane's axes (east, north) as seen in the image's own plane
    ca, cb = a * cos + b * sin, b * cos - a * sin
    return Wcs((float(crval[0]), float(crval[1])), stars.centre, ((ca, -hand * cb), (cb, hand * ca)))


def pose_space(area: float, stars: StarField, scale: float, spread: float, hunt: Hunt) -> float:
    """Return the logarithm of the number of poses that differ by more than about a pixel [area in deg2, deg/pixel]."""
    places = area / scale**2
    turns = 2 * math.pi * stars.half_diagonal
    sizes = max(2 * spread * stars.half_diagonal, 1.0)
    return math.log(max(places, 1.0)) + math.log(turns) + math.log(sizes) + (0.0 if hunt.parity else math.log(2.0))


def patches_of(near: References, field: float) -> tuple[list[tuple[tuple[float, float], Plane]], float]:
    """Return planes tangent to the sky wherever there are reference stars, and the area [deg2] they cover together.

    Every circle of radius `field` [deg] lies within one of them.
    """
    radius = max(PATCH, 2.5 * field)
    step = math.sqrt(2.0) * (radius - field)
    rows = math.ceil(180.0 / step)
    high = np.minimum((near.dec + 90.0) / 180.0 * rows, rows - 1).astype(np.int64)
    columns = _columns(rows)
    wide = (near.ra / 360.0 * columns[high]).astype(np.int64) % columns[high]
    found, count = np.unique(np.stack((high, wide)), axis=1, return_counts=True)
    patches = []
    for row, column in found[:, count >= 4].T:
        centre = ((column + 0.5) / columns[row] * 360.0, (row + 0.5) / rows * 180.0 - 90.0)
        patches.append((centre, near.within(centre, radius).plane(centre)))
    return patches, len(patches) * 41253.0 / float(columns.sum())


def _columns(rows: int) -> NDArray[np.int64]:
    """Return into how many patches each band of declination falls, none wider than high at its broad side."""
    edges = np.linspace(-90.0, 90.0, rows + 1)
    broad = np.where((edges[:-1] < 0) & (edges[1:] > 0), 0.0, np.minimum(abs(edges[:-1]), abs(edges[1:])))
    return np.maximum(np.ceil(360.0 * np.cos(np.radians(broad)) / (180.0 / rows)), 1).astype(np.int64)
