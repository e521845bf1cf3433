"""Reference data: lines of lamps and sky, standard stars, extinction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LineList:
    """Spectral lines: `wave` vacuum [Angstrom] increasing, `intensity` relative within a species, `species`, `source`.

    `clean` marks lines that a human would start from: strong and isolated at low resolution.
    """

    wave: FloatArray
    intensity: FloatArray
    species: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Standard:
    """A flux standard: `wave` vacuum [Angstrom], `flux` [erg/s/cm2/Angstrom], `width` of each band [Angstrom] or 0.

    `aliases` are compared without case, blanks and punctuation; `ra`, `dec` ICRS degrees at J2000, `pm` proper motion
    in right ascension (times cos dec) and declination [mas/yr], zero where it is too small to matter.
    """

    name: str
    aliases: tuple[str, ...]
    ra: float
    dec: float
    wave: FloatArray
    flux: FloatArray
    width: FloatArray
    source: str
    pm: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Extinction:
    """Atmospheric extinction of a site: `magnitude` per airmass at `wave` vacuum [Angstrom]; `terms` of the model."""

    site: str
    wave: FloatArray
    magnitude: FloatArray
    terms: dict[str, float]
    source: str
