"""Which stars stand in a field: numbers by galactic latitude, colours, proper motions; or those of a given list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.tan import sky_of_plane
from nightpipe.simulate.imaging.locus import BANDS, draw_g_i, magnitudes

FloatArray = NDArray[np.float64]

EPOCH = 2000.0
"""Julian year of the true positions."""

_GRID = np.arange(5.0, 28.0, 0.25)


@dataclass(frozen=True)
class Stars:
    """The stars of a field: `ra`, `dec` (n,) [deg, ICRS] at `EPOCH`, `pm_ra` (times cos dec), `pm_dec` [mas/yr], and
    `mags` (n,) by band of `locus.BANDS`.
    """

    ra: FloatArray
    dec: FloatArray
    pm_ra: FloatArray
    pm_dec: FloatArray
    mags: dict[str, FloatArray]

    def __len__(self) -> int:
        return int(self.ra.size)

    def at(self, epoch: float) -> tuple[FloatArray, FloatArray]:
        """Return (ra, dec) [deg] at a Julian year."""
        years = epoch - EPOCH
        ra = self.ra + years * self.pm_ra / np.cos(np.radians(self.dec)) / 3.6e6
        return np.mod(ra, 360.0), self.dec + years * self.pm_dec / 3.6e6

    def joined(self, other: Stars) -> Stars:
        """Return these stars and others."""
        mags = {band: np.append(self.mags[band], other.mags[band]) for band in self.mags}
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("ra", "dec", "pm_ra", "pm_dec"))
        ra, dec, pm_ra, pm_dec = (np.append(mine, theirs) for mine, theirs in pairs)
        return Stars(ra, dec, pm_ra, pm_dec, mags)


def galactic(ra: float, dec: float) -> tuple[float, float]:
    """Return galactic longitude and latitude [deg] of a J2000 position (Hipparcos catalogue, vol. 1, eq. 1.5.11)."""
    a, d = np.radians([ra - 192.85948, dec])
    pole = np.radians(27.12825)
    sine = np.sin(d) * np.sin(pole) + np.cos(d) * np.cos(pole) * np.cos(a)
    east, north = np.cos(d) * np.sin(a), np.sin(d) * np.cos(pole) - np.cos(d) * np.sin(pole) * np.cos(a)
    return float(122.93192 - np.degrees(np.arctan2(east, north))) % 360.0, float(np.degrees(np.arcsin(sine)))


def counts(v: FloatArray, longitude: float, latitude: float) -> FloatArray:
    """Return stars per square degree and magnitude at V (n,): disc and halo.

    Bahcall & Soneira 1980 (ApJS 44, 73, eq. B1, differential). Below 8 degrees, where dust makes the formula diverge,
    that of 8 degrees is returned.
    """
    b, ell = np.radians(max(abs(latitude), 8.0)), np.radians(longitude)
    mu = np.clip(0.0075 * (v - 12.0) + 0.03, 0.03, 0.09)
    gamma = np.clip(0.04 * (12.0 - v) + 0.36, 0.04, 0.36)
    sigma = 1.45 - 0.20 * np.cos(b) * np.cos(ell)
    disc = 200.0 * 10 ** (0.01 * (v - 15.0)) / (1.0 + 10 ** (-0.2 * (v - 15.0))) ** 2
    disc /= (np.sin(b) * (1.0 - mu / np.tan(b) * np.cos(ell))) ** (3.0 - 5.0 * gamma)
    halo = 400.0 * 10 ** (0.065 * (v - 17.5)) / (1.0 + 10 ** (-0.26 * (v - 17.5))) ** 1.5
    return np.asarray(disc + halo / (1.0 - np.cos(b) * np.cos(ell)) ** sigma)


def field_stars(
    centre: tuple[float, float], side: float, faintest: float, rng: np.random.Generator, *, brightest: float = 7.0
) -> Stars:
    """Return the stars of a square of `side` degrees about `centre` (ra, dec) [deg], down to `faintest` in r."""
    ell, b = galactic(*centre)
    grid = _GRID[(brightest <= _GRID) & (faintest >= _GRID)]
    density = counts(grid, ell, b)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2.0 * np.diff(grid))])
    number = int(rng.poisson(cumulative[-1] * side**2))
    r = np.interp(rng.uniform(0.0, cumulative[-1], number), cumulative, grid)
    xi, eta = rng.uniform(-side / 2, side / 2, (2, number))
    return made(*sky_of_plane(xi, eta, centre), r, b, rng)


def made(ra: FloatArray, dec: FloatArray, r: FloatArray, latitude: float, rng: np.random.Generator) -> Stars:
    """Return stars of given places and r magnitudes: colours and motions are drawn.

    Motions: a velocity of 45 km/s (150 for the blue halo beyond r 19) at the distance that the colour gives (Ivezic et
    al. 2008, eq. A7, simplified), so that near M dwarfs move fastest.
    """
    g_i = draw_g_i(r, latitude, rng)
    mags = magnitudes(r, g_i, rng)
    absolute = np.interp(g_i, (-0.4, 0.5, 1.0, 2.0, 3.0, 4.0), (1.5, 4.6, 6.3, 9.0, 12.0, 15.5))
    parsec = 10 ** (0.2 * (r - absolute) + 1.0)
    speed = np.where((r > 19) & (g_i < 0.8), 150.0, 45.0)
    motion = rng.normal(0.0, 1.0, (2, r.size)) * speed / 4.74 / parsec * 1000.0
    pm_ra, pm_dec = np.clip(motion, -1500.0, 1500.0)
    return Stars(ra, dec, pm_ra, pm_dec, mags)


def listed(ra: FloatArray, dec: FloatArray, mags: dict[str, FloatArray], rng: np.random.Generator) -> Stars:
    """Return the stars of a list that gives r, and perhaps other bands, which then hold; the rest is drawn."""
    rest = made(ra, dec, mags["r"], 45.0, rng)
    if "g" in mags and "i" in mags:
        rest = Stars(ra, dec, rest.pm_ra, rest.pm_dec, magnitudes(mags["r"], mags["g"] - mags["i"], rng))
    known = {band: mags.get(band, rest.mags[band]) for band in BANDS}
    return Stars(ra, dec, rest.pm_ra, rest.pm_dec, known)


def one(ra: float, dec: float, mags: dict[str, float]) -> Stars:
    """Return a single star that does not move."""
    zero = np.zeros(1)
    return Stars(np.array([ra]), np.array([dec]), zero, zero, {band: np.array([mags[band]]) for band in BANDS})
