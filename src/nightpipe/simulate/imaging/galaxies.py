"""Galaxies of a field: numbers, sizes and colours by magnitude, discs and spheroids; and the host of a transient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.tan import sky_of_plane
from nightpipe.simulate.imaging.locus import BANDS, johnson

FloatArray = NDArray[np.float64]

# log10 of galaxies per square degree and magnitude in r: Yasuda et al. 2001 (AJ 122, 1104) to r 21, Capak et al. 2007
# (ApJS 172, 99) beyond.
_COUNTS = np.array([(13.0, -0.85), (15.0, 0.35), (17.77, 2.02), (20.0, 3.0), (22.0, 3.75), (24.0, 4.4), (26.0, 4.95)])
_LATE = {"u": 1.75, "g": 0.55, "i": -0.28, "z": -0.42, "y": -0.47, "J": -1.35, "H": -2.0, "K": -2.4}
_EARLY = {"u": 2.55, "g": 0.85, "i": -0.40, "z": -0.66, "y": -0.76, "J": -1.80, "H": -2.5, "K": -2.85}


@dataclass(frozen=True)
class Galaxies:
    """Galaxies: `ra`, `dec` (n,) [deg], half-light `radius` [arcsec] along the major axis, Sersic `index`,
    `axis_ratio`, `angle` [deg, north through east] of the major axis, `mags` (n,) by band.
    """

    ra: FloatArray
    dec: FloatArray
    radius: FloatArray
    index: FloatArray
    axis_ratio: FloatArray
    angle: FloatArray
    mags: dict[str, FloatArray]

    def __len__(self) -> int:
        return int(self.ra.size)

    def joined(self, other: Galaxies) -> Galaxies:
        """Return these galaxies and others."""
        mags = {band: np.append(self.mags[band], other.mags[band]) for band in self.mags}
        names = ("ra", "dec", "radius", "index", "axis_ratio", "angle")
        parts = {name: np.append(getattr(self, name), getattr(other, name)) for name in names}
        return Galaxies(**parts, mags=mags)


def field_galaxies(
    centre: tuple[float, float], side: float, faintest: float, latitude: float, rng: np.random.Generator
) -> Galaxies:
    """Return the galaxies of a square of `side` degrees down to `faintest` in r; dust hides those near the plane.

    Half-light radii: 2.2 arcsec at r 17, shrinking by 0.11 dex a magnitude, scattered by 0.2 dex (SDSS and HST: Shen
    et al. 2003, MNRAS 343, 978; Roche et al. 1996, MNRAS 282, 1247).
    """
    grid = np.arange(13.0, max(faintest, 13.5), 0.1)
    dust = min(0.5 / max(np.sin(np.radians(abs(latitude))), 0.05), 4.0) * 0.12
    density = 10 ** np.interp(grid - dust, _COUNTS[:, 0], _COUNTS[:, 1])
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2.0 * 0.1)])
    number = int(rng.poisson(cumulative[-1] * side**2))
    r = np.interp(rng.uniform(0.0, cumulative[-1], number), cumulative, grid)
    xi, eta = rng.uniform(-side / 2, side / 2, (2, number))
    ra, dec = sky_of_plane(xi, eta, centre)
    size = 10 ** (0.34 - 0.11 * (r - 17.0) + rng.normal(0.0, 0.2, number))
    early = rng.uniform(size=number) < 0.35
    index = np.where(early, rng.uniform(2.5, 4.0, number), rng.uniform(0.8, 1.6, number))
    ratio = np.where(early, rng.uniform(0.55, 1.0, number), rng.uniform(0.2, 1.0, number))
    return Galaxies(ra, dec, size, index, ratio, rng.uniform(0.0, 180.0, number), _colours(r, early, rng))


def host(ra: float, dec: float, r: float, radius: float, rng: np.random.Generator) -> Galaxies:
    """Return one late galaxy: the host of a transient."""
    angle, ratio = rng.uniform(0.0, 180.0, 1), rng.uniform(0.4, 0.9, 1)
    mags = _colours(np.array([r]), np.array([False]), rng)
    place = (np.array([ra]), np.array([dec]), np.array([radius]))
    return Galaxies(*place, np.array([1.3]), ratio, angle, mags)


def _colours(r: FloatArray, early: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, FloatArray]:
    mags = {"r": r}
    tilt = rng.normal(0.0, 0.12, r.size)
    for band, late in _LATE.items():
        colour = np.where(early, _EARLY[band], late)
        mags[band] = r + colour + tilt * np.sign(late) + rng.normal(0.0, 0.04, r.size)
    full = {**mags, **johnson(mags)}
    return {band: full[band] for band in BANDS}
