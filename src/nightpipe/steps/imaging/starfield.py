"""The two lists that astrometry brings together: the stars of an image, and the reference stars about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.quadmatch import Picture, Plane
from nightpipe.maths.starlists import rounds
from nightpipe.maths.tan import plane_of_sky, separation
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Wcs

FloatArray = NDArray[np.float64]
BLENDED, EDGE, SATURATED, EXTENDED, MASKED = 1, 2, 4, 8, 16
"""Bits of `Sources.quality`."""


@dataclass(frozen=True)
class StarField:
    """Stars of an image (n,), in an order that is bright first and even over the field.

    `x`, `y` zero-based, `error` [pixel, per axis, 0 unknown], `sound` where the place may enter a fit; `shape` (ny,
    nx).
    """

    x: FloatArray
    y: FloatArray
    error: FloatArray
    sound: NDArray[np.bool_]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return int(self.x.size)

    @property
    def centre(self) -> tuple[float, float]:
        """Return the middle of the image (x, y), zero-based."""
        return (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2

    @property
    def side(self) -> float:
        """Return the width [pixel] of a square of the image's area."""
        return float(np.sqrt(self.shape[0] * self.shape[1]))

    @property
    def half_diagonal(self) -> float:
        """Return the distance [pixel] from the middle to a corner."""
        return float(np.hypot(*self.shape)) / 2

    def brightest(self, count: int) -> StarField:
        """Return the first `count` stars."""
        first = slice(None, count)
        return StarField(self.x[first], self.y[first], self.error[first], self.sound[first], self.shape)

    def picture(self) -> Picture:
        """Return the stars as the search for quads takes them."""
        return Picture(self.x - self.centre[0], self.y - self.centre[1], self.side)


FEW = 100
"""Stars of a field below which what is no star may lead a search astray."""
MOST = 4000
"""Stars of an image that are looked at: more would not make a solution better."""


def star_field(sources: Sources, shape: tuple[int, int], most: int = MOST) -> StarField:
    """Return up to `most` stars of the `sources`: no cosmic rays, and nothing extended as long as stars abound.

    Where stars are few those whose shape is a star's come first: knots of a galaxy may outnumber and outshine them.
    """
    good = np.isfinite(sources.x) & np.isfinite(sources.y) & np.isfinite(sources.flux) & (sources.flux > 0)
    fwhm = sources.columns.get("fwhm")
    if fwhm is not None and good.any():
        good &= ~(fwhm < 0.5 * np.nanmedian(fwhm[good]))
    stellar = good & (sources.quality & EXTENDED == 0)
    good = stellar if stellar.sum() >= 12 else good
    row = np.flatnonzero(good)
    faintness = np.argsort(np.argsort(-sources.flux[row], kind="stable")).astype(np.float64)
    star = sources.columns.get("star")
    if star is not None and 12 <= np.count_nonzero(star[row] > 0) < FEW:
        faintness += row.size * (star[row] <= 0)
    order, _ = rounds(sources.x[row], sources.y[row], faintness, max(max(shape) / 4, 1.0))
    row = row[order[:most]]
    error = np.hypot(sources.x_error[row], sources.y_error[row]) / np.sqrt(2)
    sound = sources.quality[row] & (EDGE | SATURATED | MASKED) == 0
    return StarField(sources.x[row], sources.y[row], np.nan_to_num(error, posinf=0), sound, shape)


@dataclass(frozen=True)
class References:
    """Reference stars (n,) at the epoch of the image, brightest first: ICRS [deg], `error` [arcsec]."""

    ra: FloatArray
    dec: FloatArray
    error: FloatArray
    name: str

    def __len__(self) -> int:
        return int(self.ra.size)

    @cached_property
    def vectors(self) -> FloatArray:
        """Return unit vectors (n, 3)."""
        a, d = np.radians(self.ra), np.radians(self.dec)
        return np.stack((np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)), axis=1)

    def within(self, centre: tuple[float, float], radius: float) -> References:
        """Return the stars no farther than `radius` [deg] from `centre`."""
        band = np.flatnonzero(np.abs(self.dec - centre[1]) <= radius)
        near = band[separation(self.ra[band], self.dec[band], *centre) <= radius]
        return References(self.ra[near], self.dec[near], self.error[near], self.name)

    def plane(self, centre: tuple[float, float]) -> Plane:
        """Return the stars on the plane tangent at `centre`; their order is their faintness."""
        xi, eta = plane_of_sky(self.ra, self.dec, centre)
        return Plane(xi, eta, np.arange(len(self), dtype=np.float64))


def references(catalogue: StarCatalogue, epoch: float, band: str = "") -> References:
    """Return the catalogue's stars moved to `epoch` [Julian year], the brightest in `band` first."""
    ra, dec = catalogue.at(epoch)
    order = np.argsort(catalogue.brightness(band))
    order = order[np.isfinite(ra[order]) & np.isfinite(dec[order])]
    return References(ra[order], dec[order], np.nan_to_num(catalogue.error[order]), catalogue.name)


def in_frame(
    wcs: Wcs, stars: StarField, near: References, margin: float
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Return which reference stars lie on the image or within `margin` [pixel] of it, and where (x, y)."""
    x, y = wcs.to_pixel(near.ra, near.dec)
    ny, nx = stars.shape
    inside = (x > -margin) & (x < nx - 1 + margin) & (y > -margin) & (y < ny - 1 + margin)
    row = np.flatnonzero(inside)
    return row, x[row], y[row]
