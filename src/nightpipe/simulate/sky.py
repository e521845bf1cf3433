"""The light that fills the slit: night sky with its lines, moon and city; and the calibration lamps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.io.references import line_list, sky_lines
from nightpipe.simulate.sources import Light, planck

FloatArray = NDArray[np.float64]

_PHOTON = 1.98645e-8  # hc in erg A
_RAYLEIGH = 1.8704e-6  # photons/s/cm2/arcsec2 in one Rayleigh
_UVES_UNIT = 1.0e-17  # erg/s/cm2/arcsec2 of the packaged sky lines' intensities, roughly

# Street lamps [Rayleigh at a city of strength 1], vacuum wavelengths (NIST); high-pressure sodium is a broad glow.
_CITY = (
    (3651.198, 15.0),
    (4047.708, 40.0),
    (4359.560, 110.0),
    (5462.267, 130.0),
    (5771.210, 45.0),
    (5792.276, 45.0),
    (5684.209, 25.0),
    (5689.783, 30.0),
    (6155.929, 25.0),
    (6162.452, 35.0),
)
_LINES_OF_NIGHT = ((5578.887, 230.0, "OI"), (5891.583, 45.0, "NaI"), (5897.558, 24.0, "NaI"))
_CONTINUUM_WAVE = (3000, 3400, 3800, 4200, 4600, 5000, 5500, 6000, 6500, 7000, 7500, 8000, 8500, 9000, 10000, 12000)
_CONTINUUM_AB = (22.3, 22.4, 22.7, 22.6, 22.3, 22.1, 21.9, 21.6, 21.5, 21.4, 21.3, 21.2, 21.1, 21.0, 20.8, 20.5)


@dataclass(frozen=True)
class Glow:
    """Light that fills the slit evenly: `continuum` [photon/s/cm2/A/arcsec2] and lines.

    `wave` vacuum [A], `flux` [photon/s/cm2/arcsec2], `species`, and `listed`: does the reduction's list have the line?
    For lamps the unit is arbitrary.
    """

    continuum: Light
    wave: FloatArray
    flux: FloatArray
    species: tuple[str, ...]
    listed: NDArray[np.bool_]


def night_sky(rng: np.random.Generator, *, city: float, moon: float, airmass: float) -> Glow:
    """Return the sky: continuum, airglow that varies from exposure to exposure, lines that no list has, city and moon.

    `city` is the strength of street lamps (0.1 a dark site, 2 a hill above a town), `moon` the illuminated fraction.
    """
    packaged = sky_lines()
    keep = ~np.isin(packaged.species, ("HgI", "NaI")) & (np.abs(packaged.wave - 5578.9) > 3.0)
    wave = packaged.wave[keep]
    flux = packaged.intensity[keep] * _UVES_UNIT * wave / _PHOTON
    species = np.array(packaged.species)[keep]
    flux = flux * _band_strengths(wave, species, rng)
    rows = [(w, f, s, True) for w, f, s in zip(wave.tolist(), flux.tolist(), species.tolist(), strict=True)]
    rows += [(w, r * _RAYLEIGH * float(rng.uniform(0.7, 1.3)), s, True) for w, r, s in _LINES_OF_NIGHT]
    rows += [(w, r * _RAYLEIGH * city, "city", False) for w, r in _CITY]
    rows += [(w, f, "unlisted", False) for w, f in _unlisted(wave, flux, rng, 20, (-3.5, -2.0))]
    return _glow(lambda w: _continuum(w, city, moon) * airmass**0.6, rows, airmass**0.6)


def lamp(names: tuple[str, ...], weights: Mapping[str, float], rng: np.random.Generator, *, continuum: float) -> Glow:
    """Return an arc lamp: the listed lines with compressed, scattered strengths, and some that the list lacks.

    The brightest line has flux 1; `weights` scales elements; `continuum` is the level per A at 6500 A.
    """
    packaged = line_list(names)
    element = np.array([species.rstrip("IV") for species in packaged.species])
    flux = np.zeros(len(packaged.wave))
    for name in dict.fromkeys(element):
        mine = element == name
        relative = packaged.intensity[mine] / packaged.intensity[mine].max()
        flux[mine] = weights.get(str(name), 1.0) * relative**0.75
    flux *= np.exp(rng.normal(0.0, 0.25, len(flux)))
    flux /= flux.max()
    rows = [(float(w), float(f), s, True) for w, f, s in zip(packaged.wave, flux, packaged.species, strict=True)]
    rows += [(w, f, "unlisted", False) for w, f in _unlisted(packaged.wave, flux, rng, len(flux) // 10, (-3.5, -2.0))]
    body = planck(4500.0)
    return _glow(lambda w: continuum * body(w) / body(np.array([6500.0])), rows, 1.0)


def halogen(temperature: float = 3200.0) -> Glow:
    """Return a halogen lamp: a black body, in photons, 1 per A at 6500 A."""
    body = planck(temperature)
    level = float(body(np.array([6500.0]))[0]) * 6500.0
    return _glow(lambda w: body(w) * w / level, [], 1.0)


def _glow(continuum: Light, rows: list[tuple[float, float, str, bool]], scale: float) -> Glow:
    rows = sorted(rows)
    return Glow(
        continuum,
        np.array([row[0] for row in rows], dtype=float),
        np.array([row[1] for row in rows], dtype=float) * scale,
        tuple(row[2] for row in rows),
        np.array([row[3] for row in rows], dtype=bool),
    )


def _band_strengths(wave: FloatArray, species: NDArray[np.str_], rng: np.random.Generator) -> FloatArray:
    """Return factors that vary from band to band (500 A wide) and from species to species, as airglow does."""
    band = np.round(wave / 500.0).astype(int)
    factors = {key: rng.lognormal(0.0, 0.2) for key in sorted(set(zip(species.tolist(), band.tolist(), strict=True)))}
    return np.array([factors[key] for key in zip(species.tolist(), band.tolist(), strict=True)])


def _unlisted(
    wave: FloatArray, flux: FloatArray, rng: np.random.Generator, count: int, decades: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return `count` lines at random places, weaker than the brightest by a number of `decades` between two limits."""
    places = rng.uniform(wave.min(), wave.max(), count)
    strengths = flux.max() * 10.0 ** rng.uniform(*decades, count)
    return list(zip(places.tolist(), strengths.tolist(), strict=True))


def _continuum(wave: FloatArray, city: float, moon: float) -> FloatArray:
    """Return dark sky, city glow and moonlight [photon/s/cm2/A/arcsec2] (dark sky: Benn & Ellison 1998, La Palma)."""
    dark = np.interp(wave, _CONTINUUM_WAVE, _CONTINUUM_AB)
    glow = 10.0 ** (-0.4 * (dark + 48.6)) * 2.998e18 / wave**2
    sodium = 2.0e-18 * city * np.exp(-0.5 * ((wave - 5895.0) / 90.0) ** 2)
    sun = planck(5800.0)
    moonlight = 6.0e-17 * moon**1.5 * sun(wave) / sun(np.array([5500.0])) * (wave / 5500.0) ** -1.5 * _solar_lines(wave)
    return np.asarray((glow + 4.0e-19 * city + sodium + moonlight) * wave / _PHOTON)


def _solar_lines(wave: FloatArray) -> FloatArray:
    lines = (
        (3934.8, 0.8, 7.0),
        (3969.6, 0.75, 7.0),
        (4308.0, 0.35, 8.0),
        (4862.7, 0.2, 4.0),
        (5175.0, 0.2, 8.0),
        (5894.0, 0.15, 4.0),
        (6564.6, 0.3, 3.0),
    )
    shape = np.ones_like(wave)
    for line, depth, width in lines:
        shape *= 1.0 - depth * np.exp(-0.5 * ((wave - line) / width) ** 2)
    return shape
