"""What the dialects share: the layout of the array, and how angles and times are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from nightpipe.simulate.bench import Bench
from nightpipe.simulate.schedule import NightOptions, Shot

Value = str | int | float | bool
Cards = Mapping[str, Value | tuple[Value, str]]


@dataclass(frozen=True)
class Layout:
    """The array as read: `shape` (ny, nx), and the `window` (x1, x2, y1, y2) in detector pixels from 1, inclusive."""

    shape: tuple[int, int]
    window: tuple[int, int, int, int]


class Dialect(ABC):
    """How one arm of an instrument names its files and writes its headers."""

    bits = 16
    extension = False

    def __init__(self, arm: str) -> None:
        self.arm = arm

    @property
    def described(self) -> str:
        """Return the name of the instrument's description."""
        return self.arm

    @abstractmethod
    def layout(self, shot: Shot, options: NightOptions) -> Layout:
        """Return the array as read for an exposure."""

    @abstractmethod
    def file_name(self, shot: Shot) -> str:
        """Return the name of the exposure's file."""

    @abstractmethod
    def cards(self, shot: Shot, layout: Layout, known: Bench, options: NightOptions) -> tuple[Cards, Cards]:
        """Return the cards of the primary header and of the image extension (empty where there is none)."""

    def quirks(self, raw: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the array with what is odd about this instrument's files."""
        return raw

    def hdus(self, raw: NDArray[np.int64], cards: tuple[Cards, Cards]) -> fits.HDUList:
        """Return the file as it will lie: unsigned integers, in the primary or in one extension."""
        pixels = self.quirks(raw).astype(np.uint32 if self.bits == 32 else np.uint16)
        if not self.extension:
            return fits.HDUList([_filled(fits.PrimaryHDU(pixels), cards[0])])
        return fits.HDUList([_filled(fits.PrimaryHDU(), cards[0]), _filled(fits.ImageHDU(pixels), cards[1])])


def _filled(hdu: fits.PrimaryHDU | fits.ImageHDU, cards: Cards) -> fits.PrimaryHDU | fits.ImageHDU:
    for name, value in cards.items():
        hdu.header[name] = value
    return hdu


def sexagesimal(degrees: float, *, hours: bool = False, plus: bool = False, digits: int = 2) -> str:
    """Return an angle as ``12:37:54.80`` (hours) or ``-05:09:46.0``."""
    value = abs(degrees) / (15.0 if hours else 1.0) * 3600.0
    value = round(value, digits)
    sign = "-" if degrees < 0 else "+" if plus else ""
    width = digits + 3 if digits else 2
    return f"{sign}{int(value // 3600):02d}:{int(value % 3600 // 60):02d}:{value % 60:0{width}.{digits}f}"


def precessed(ra: float, dec: float, years: float) -> tuple[float, float]:
    """Return a J2000 position [degree] for the equinox 2000 + `years` (Astronomical Almanac, section B, low order)."""
    m, n = 3.07496 * 15.0 / 3600.0, 20.0431 / 3600.0
    alpha, delta = np.radians([ra, dec])
    return (
        float(ra + years * (m + n * np.sin(alpha) * np.tan(delta))) % 360.0,
        float(dec + years * n * np.cos(alpha)),
    )


def alias(shot: Shot, prefix: str) -> str:
    """Return the standard's alias that begins with `prefix`, else the exposure's own name."""
    names = () if shot.standard is None else shot.standard.aliases
    return next((name for name in names if name.startswith(prefix)), shot.name)
