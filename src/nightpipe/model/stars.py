"""Reference stars: positions with motion, magnitudes by band, and how deep the list goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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

    def brightness(self, band: str = "") -> FloatArray:
        """Return magnitudes (n,) by which to order the stars: `band`, else the one that most have; inf where none."""
        if not self.mags:
            return np.zeros(self.ra.size)
        most = max(self.mags, key=lambda name: int(np.isfinite(self.mags[name]).sum()))
        values = self.mags.get(band, self.mags[most])
        return np.where(np.isfinite(values), values, np.inf)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> StarCatalogue:
        """Return the stars of these `rows`; the cone stays."""
        return replace(
            self,
            ra=self.ra[rows],
            dec=self.dec[rows],
            pm_ra=self.pm_ra[rows],
            pm_dec=self.pm_dec[rows],
            error=self.error[rows],
            mags={band: values[rows] for band, values in self.mags.items()},
            mag_errors={band: values[rows] for band, values in self.mag_errors.items()},
            extended=None if self.extended is None else self.extended[rows],
        )
