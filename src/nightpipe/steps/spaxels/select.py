"""Which lenslets a person wants, by number or by where they look."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step, parameter
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.flags import Flag

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


class SelectSpaxels(Step):
    """Leave out lenslets that a person does not want: by number, by where they look, or all outside a region.

    A place is a polygon ``x,y;x,y;x,y`` or circles ``x,y,radius;x,y,radius`` in arcsec east and north of the field's
    middle; several are parted by ``|``.
    """

    version: ClassVar[int] = 2
    region: str = parameter("", "places outside which lenslets are not used; empty: all are", unit="arcsec")
    exclude: str = parameter("", "numbers of lenslets that are not used: 12,13,40")
    exclude_region: str = parameter("", "places within which lenslets are not used", unit="arcsec")

    def run(self, spectra: SpaxelSpectra) -> SpaxelSpectra:
        """Return the spectra with those lenslets masked (OUTSIDE_SLIT).

        Raises
        ------
        ConfigError
            A place is neither polygon nor circles, there is no such lenslet, or none is left.
        """
        out = np.zeros(len(spectra), dtype=bool)
        if self.region:
            out |= ~_within(self.region, spectra.east, spectra.north, "SelectSpaxels.region")
        if self.exclude_region:
            out |= _within(self.exclude_region, spectra.east, spectra.north, "SelectSpaxels.exclude_region")
        out[_numbers(self.exclude, len(spectra))] = True
        if not out.any():
            return spectra
        if out.all():
            raise ConfigError("a choice that leaves lenslets", "none is left", "arcsec east, north of the middle")
        mask = spectra.mask | np.where(out, int(Flag.OUTSIDE_SLIT), 0).astype(np.uint32)[:, None]
        text = f"{int(out.sum())} of {len(spectra)} lenslets were left out by a person"
        return spectra.but(mask=mask, caveats=(Caveat("spaxels.selected", text),))


def _within(text: str, east: FloatArray, north: FloatArray, parameter_name: str) -> Bools:
    """Return which places lie within any of the shapes that `text` names; raises ConfigError."""
    inside = np.zeros(east.size, dtype=bool)
    for shape in text.split("|"):
        numbers = _shape(shape, parameter_name)
        inside |= _in_circles(numbers, east, north) if numbers.shape[1] == 3 else _in_polygon(numbers, east, north)
    return inside


def _shape(text: str, parameter_name: str) -> FloatArray:
    """Return the corners (k, 2) of a polygon ``x,y;x,y;...`` or circles (k, 3) ``x,y,radius;...``."""
    try:
        rows = np.array([[float(part) for part in place.split(",")] for place in text.split(";") if place.strip()])
    except ValueError:
        rows = np.zeros((0, 2))
    polygon = rows.ndim == 2 and rows.shape[1] == 2 and len(rows) >= 3
    if not (polygon or (rows.ndim == 2 and rows.shape[1] == 3 and (rows[:, 2] > 0).all())):
        wanted = "a polygon of three corners or more, or circles x,y,radius"
        raise ConfigError(wanted, text, f"{parameter_name}=-3,-3;3,-3;0,4 or {parameter_name}=2.5,-1,1.2")
    return rows


def _numbers(text: str, count: int) -> list[int]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdigit() and int(word) < count for word in words):
        remedy = "SelectSpaxels.exclude=12,13, or by where they look: SelectSpaxels.exclude_region=2.5,-1,1.2"
        raise ConfigError(f"numbers of lenslets below {count}", text, remedy)
    return [int(word) for word in words]


def _in_circles(circles: FloatArray, east: FloatArray, north: FloatArray) -> Bools:
    """Return which points lie within any of the circles (k, 3): east, north, radius."""
    away = np.hypot(east[:, None] - circles[:, 0], north[:, None] - circles[:, 1])
    return np.asarray((away < circles[:, 2]).any(axis=1))


def _in_polygon(corners: FloatArray, east: FloatArray, north: FloatArray) -> Bools:
    """Return which points lie inside a polygon: an odd number of its sides is crossed on the way west."""
    inside = np.zeros(east.size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crossed = (y0 > north) != (y1 > north)
        inside ^= crossed & (east < (x1 - x0) * (north - y0) / (y1 - y0) + x0)
    return inside
