"""What the imagers' dialects share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from nightpipe.maths.tan import sky_of_plane
from nightpipe.simulate.dialects.base import Cards
from nightpipe.simulate.imaging.camera import Camera, Observatory
from nightpipe.simulate.imaging.schedule import Shot


@dataclass(frozen=True)
class Taken:
    """One file to write: an exposure of one camera, behind `filters`, of a target `name`; without coordinates where
    the control system lost them.
    """

    known: Observatory
    camera: Camera
    shot: Shot
    filters: tuple[str, ...]
    name: str
    lost: bool = False

    @property
    def commanded(self) -> tuple[float, float]:
        """Return where the telescope believes to look [deg]."""
        east, north = self.shot.offset
        ra, dec = sky_of_plane(east / 3600.0, north / 3600.0, (self.shot.ra, self.shot.dec))
        return float(ra), float(dec)

    @property
    def filter(self) -> str:
        """Return the first filter."""
        return self.filters[0]


class ImagingDialect(ABC):
    """How an imager names its files and writes its headers."""

    bits = 16
    extension = False

    @abstractmethod
    def file_name(self, taken: Taken) -> str:
        """Return the name of the file."""

    @abstractmethod
    def cards(self, taken: Taken) -> tuple[Cards, Cards]:
        """Return the cards of the primary header and of the image extension (empty where there is none)."""

    def hdus(self, raw: NDArray[np.integer], taken: Taken) -> fits.HDUList:
        """Return the file as it will lie."""
        pixels = raw.astype(np.uint32 if self.bits == 32 else np.uint16)
        primary, image = self.cards(taken)
        if not self.extension:
            return fits.HDUList([_filled(fits.PrimaryHDU(pixels), primary)])
        return fits.HDUList([_filled(fits.PrimaryHDU(), primary), _filled(fits.ImageHDU(pixels), image)])


def _filled(hdu: fits.PrimaryHDU | fits.ImageHDU, cards: Cards) -> fits.PrimaryHDU | fits.ImageHDU:
    for name, value in cards.items():
        hdu.header[name if len(name) <= 8 and " " not in name else f"HIERARCH {name}"] = value
    return hdu


def stamp(taken: Taken, digits: int = 3) -> str:
    """Return the start as ``2019-05-01T08:10:40.123``."""
    text = taken.shot.start.strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text[: 19 if not digits else 20 + digits]


def section(box: tuple[int, int, int, int]) -> str:
    """Return a box of pixels as the cards write it: ``[1:2048,1:100]``, from one, both ends within."""
    x0, x1, y0, y1 = box
    return f"[{x0 + 1}:{x1},{y0 + 1}:{y1}]"


def middle(camera: Camera) -> tuple[float, float]:
    """Return the middle of the lit pixels, from one."""
    x0, x1, y0, y1 = camera.light
    return (x0 + x1 + 1) / 2.0, (y0 + y1 + 1) / 2.0


def simple_wcs(taken: Taken, middle: tuple[float, float]) -> Cards:
    """Return the WCS cards of a description that knows scale and rotation only roughly; `middle` one-based pixel."""
    camera, (ra, dec) = taken.camera, taken.commanded
    scale, turn = camera.scale / 3600.0, np.radians(camera.rotation)
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CRPIX1": middle[0],
        "CRPIX2": middle[1],
        "CD1_1": float(camera.parity * scale * np.cos(turn)),
        "CD1_2": float(scale * np.sin(turn)),
        "CD2_1": float(-camera.parity * scale * np.sin(turn)),
        "CD2_2": float(scale * np.cos(turn)),
    }
