"""A reference catalogue as a survey would publish it: noisy, limited in depth, with motions, holes and blends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.simulate.imaging.galaxies import Galaxies
from nightpipe.simulate.imaging.stars import EPOCH, Stars

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """How a survey sees: the epoch of its positions, 5 sigma depth by band, floor of its photometry [mag], position
    error at the bright end [arcsec], the share of stars that it misses, and whether it gives proper motions.
    """

    name: str
    epoch: float
    depth: dict[str, float]
    floor: float = 0.008
    position: float = 0.02
    missing: float = 0.015
    motions: bool = True
    brightest: float = 0.0


REFCAT = Survey(
    "REFCAT", 2015.5, {"g": 21.8, "r": 21.6, "i": 21.2, "z": 20.5, "y": 20.0, "J": 17.0, "H": 16.3, "K": 15.6}
)
"""Like RefCat2 joined with 2MASS: PS1's griz with Gaia's positions and motions (Tonry et al. 2018, ApJ 867, 105)."""

SDSS = Survey("SDSS", 2004.0, {"u": 22.0, "g": 22.6, "r": 22.2, "i": 21.6, "z": 20.4}, 0.012, 0.06, 0.02, False, 14.0)
"""Like SDSS: no motions, saturated above 14."""


def reference(
    survey: Survey, stars: Stars, galaxies: Galaxies | None, rng: np.random.Generator
) -> dict[str, tuple[FloatArray, str]]:
    """Return columns with units: id, ra, dec, errors, motions, magnitudes with errors by band, and ``extended``.

    Positions are those of the survey's epoch; a magnitude fainter than 5 sigma is nan. Galaxies brighter than the
    limit are in, with a position error that their size gives.
    """
    columns = _measured(
        survey, *stars.at(survey.epoch), stars.pm_ra, stars.pm_dec, stars.mags, np.zeros(len(stars)), rng
    )
    if galaxies is None or not len(galaxies):
        return columns
    none = np.zeros(len(galaxies))
    more = _measured(survey, galaxies.ra, galaxies.dec, none, none, galaxies.mags, galaxies.radius, rng)
    return {name: (np.append(columns[name][0], more[name][0]), unit) for name, (_, unit) in columns.items()}


def _measured(
    survey: Survey, ra: FloatArray, dec: FloatArray, pm_ra: FloatArray, pm_dec: FloatArray,
    mags: dict[str, FloatArray], size: FloatArray, rng: np.random.Generator,
) -> dict[str, tuple[FloatArray, str]]:  # fmt: skip
    errors = {band: survey.floor + 0.2 * 10 ** (0.4 * (mags[band] - depth)) for band, depth in survey.depth.items()}
    place = survey.position + 0.25 * errors["r"] + 0.1 * size
    east, north = rng.normal(0.0, 1.0, (2, ra.size)) * place
    moves = 1.0 if survey.motions else 0.0
    wobble = rng.normal(0.0, 0.1, (2, ra.size)) + rng.normal(0.0, 1.0, (2, ra.size)) * 2.0 * errors["r"] * 5.0
    columns: dict[str, tuple[FloatArray, str]] = {
        "ra": (np.mod(ra + east / 3600.0 / np.cos(np.radians(dec)), 360.0), "deg"),
        "dec": (dec + north / 3600.0, "deg"),
        "error": (place, "arcsec"),
        "pm_ra": (moves * (pm_ra + wobble[0]), "mas/yr"),
        "pm_dec": (moves * (pm_dec + wobble[1]), "mas/yr"),
        "extended": ((size > 0.35).astype(float), ""),
    }
    seen = np.zeros(ra.size, dtype=bool)
    for band, error in errors.items():
        value = mags[band] + rng.normal(0.0, 1.0, ra.size) * error
        lost = (error > 0.2 + survey.floor) | (mags[band] < survey.brightest)
        columns[band] = (np.where(lost, np.nan, value), "mag")
        columns[f"{band}_error"] = (np.where(lost, np.nan, error), "mag")
        seen |= ~lost
    bright_hole = (mags["r"] < 9.0) & (rng.uniform(size=ra.size) < 0.5)
    keep = seen & (rng.uniform(size=ra.size) > survey.missing) & ~bright_hole
    return {name: (values[keep], unit) for name, (values, unit) in columns.items()}


__all__ = ["EPOCH", "REFCAT", "SDSS", "Survey", "reference"]
