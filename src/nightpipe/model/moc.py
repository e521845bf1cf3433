"""Regions of the sky: circles of error, and maps of HEALPix cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.maths.tan import separation

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Circle:
    """A circle on the sky: centre `ra`, `dec` and `radius`, all [deg]."""

    name: str
    ra: float
    dec: float
    radius: float

    def holds(self, ra: ArrayLike, dec: ArrayLike) -> Bools:
        """Return which places (n,) [deg] lie within."""
        return np.asarray(separation(self.ra, self.dec, ra, dec) <= self.radius)


@dataclass(frozen=True)
class Moc:
    """A multi-order coverage map (IVOA MOC 2.0): HEALPix cells as `uniq` (n,) = 4 * 4**order + cell, nested, ICRS."""

    name: str
    uniq: NDArray[np.int64]

    def holds(self, ra: ArrayLike, dec: ArrayLike) -> Bools:
        """Return which places (n,) [deg] lie within."""
        from astropy import units
        from astropy_healpix import lonlat_to_healpix

        lon, lat = np.asarray(ra, float) * units.deg, np.asarray(dec, float) * units.deg
        orders = (np.floor(np.log2(np.maximum(self.uniq, 4))).astype(int) - 2) // 2
        inside = np.zeros(np.shape(lon), np.bool_)
        for order in np.unique(orders):
            cells = self.uniq[orders == order] - 4 * 4 ** int(order)
            inside |= np.isin(lonlat_to_healpix(lon, lat, 2 ** int(order), order="nested"), cells)
        return inside
