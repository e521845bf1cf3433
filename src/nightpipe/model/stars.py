"""Reference stars: positions with motion, magnitudes by band, and how deep the list goes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StarCatalogue:
    """Stars of one cone of one catalogue.

    `ra`, `dec` (n,) ICRS [deg] at `epoch` [Julian year]; `pm_ra` (times cos dec), `pm_dec` [mas/yr], zero if unknown;
    `error` (n,) position error [arcsec]. `mags` and `mag_errors` map a band (``"g"``, ``"r"``, ``"G"``, ``"J"``) to
    (n,) magnitudes, nan where the star has none; `systems` maps a band to its system (``"PS1"``, ``"SDSS"``,
    ``"Vega"``). `depth` maps a band to the magnitude to which the list is complete here; `extended` (n,) marks what is
    no star. `centre` (ra, dec) and `radius` [deg] are those of the cone.
    """

    name: str
    ra: FloatArray
    dec: FloatArray
    epoch: float
    centre: tuple[float, float]
    radius: float
    pm_ra: FloatArray
    pm_dec: FloatArray
    error: FloatArray
    mags: dict[str, FloatArray] = field(default_factory=dict)
    mag_errors: dict[str, FloatArray] = field(default_factory=dict)
    systems: dict[str, str] = field(default_factory=dict)
    depth: dict[str, float] = field(default_factory=dict)
    extended: NDArray[np.bool_] | None = None
    source: str = ""

    def __len__(self) -> int:
        return int(self.ra.size)

    def at(self, epoch: float) -> tuple[FloatArray, FloatArray]:
        """Return (ra, dec) [deg] moved to `epoch` [Julian year] with the proper motions."""
        years = epoch - self.epoch
        ra = self.ra + years * self.pm_ra / np.cos(np.radians(self.dec)) / 3.6e6
        return np.mod(ra, 360.0), self.dec + years * self.pm_dec / 3.6e6
