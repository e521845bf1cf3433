"""Spectra of what is no supernova, made of published numbers: quasars, white dwarfs, cataclysmic variables, cool stars.

Each maker returns light on the grid as an observer sees it, and its redshift; range, noise, sky residuals and telluric
bands are given by `classifier_scenes` as to all that is made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from classifier_scenes import FloatArray, Scene, planck

from nightpipe.maths.logflux import BINS, STEP

UNTOLD = 9.0
"""Redshift of what shows none; like all beyond 1 it is not among those looked for, so only the kind is learnt."""
KMS = 2.998e5
BROAD_LINES = (
    (1033.0, 9.8, 7.8), (1215.7, 92.9, 19.5), (1240.8, 6.0, 8.0), (1305.4, 1.7, 5.4), (1396.8, 8.1, 14.1),
    (1549.1, 23.8, 14.3), (1640.4, 2.0, 12.0), (1857.0, 2.0, 12.0), (1905.9, 21.2, 23.6), (2076.6, 2.5, 19.0),
    (2800.0, 32.3, 35.0), (4102.7, 5.1, 18.6), (4341.7, 12.6, 20.3), (4862.7, 46.2, 40.4), (5877.3, 4.9, 23.5),
    (6564.6, 194.5, 47.4),
)  # fmt: skip
"""Quasars: Ly beta with O VI, Ly alpha, N V, O I, Si IV, C IV, He II, Al III, C III], Fe III, Mg II, H delta to H
alpha, He I: wavelength [Angstrom], equivalent width, sigma in the composite of Vanden Berk et al. (2001, AJ 122, 549,
Table 2), rounded; of the weak lines in the wings of others (N V, He II, Al III) the total with its blend."""
NARROW_LINES = ((3426.8, 1.2), (3728.5, 1.6), (3869.8, 1.4), (4960.3, 3.5), (5008.2, 13.2), (6585.3, 2.0))
NARROW_LINES += ((6718.3, 1.7), (6732.7, 1.5))
"""[Ne V], [O II], [Ne III], [O III], [N II], [S II]: wavelength and equivalent width, ibid."""
IRON = ((2450.0, 40.0, 110.0), (2630.0, 8.0, 40.0), (2960.0, 8.0, 60.0), (4565.0, 23.0, 55.0), (5250.0, 23.0, 65.0))
"""Blends of Fe II: those about H beta half as strong as it (Boroson & Green 1992, ApJS 80, 109)."""
BREAK = 5000.0
SLOPES = (-1.56, 0.45)
"""Of the continuum, per wavelength, on either side of BREAK (Vanden Berk et al. 2001)."""
BALMER = (6562.8, 4861.3, 4340.5, 4101.7, 3970.1, 3889.1, 3835.4)
HELIUM = (3888.6, 4026.2, 4387.9, 4471.5, 4713.1, 4921.9, 5015.7, 5875.6, 6678.2, 7065.2)
"""Lines of He I [Angstrom in air]."""
HIGH = (4685.7, 4640.0)
"""He II and the blend of N III and C III beside it."""


class Made(NamedTuple):
    """Light on the grid, the redshift, the kind, and which row of the bank it was made of (-1: none)."""

    flux: FloatArray
    z: float
    kind: str
    row: int


def _lines(wave: FloatArray, places: Any, depths: Any, sigmas: Any, shape: float) -> FloatArray:
    """Return the sum of Gaussians or, by `shape` 0 to 1, of Lorentzians of like width."""
    x = (wave - np.asarray(places)[:, None]) / np.asarray(sigmas)[:, None]
    profile = (1.0 - shape) * np.exp(-0.5 * x**2) + shape / (1.0 + (x / 1.18) ** 2)
    return np.asarray((np.asarray(depths)[:, None] * profile).sum(axis=0))


def quasar(scene: Scene) -> Made:
    """Return a quasar at z 0 to 4: power laws, lines of the composite's strengths and widths with their scatter.

    Blueward of Ly alpha the forest takes ``exp(-0.0036 (1 + z)^3.46)`` (Madau 1995, ApJ 441, 18); one in ten has a
    broad absorption trough at C IV or Mg II.
    """
    rng = scene.rng
    z = float(rng.uniform(0.02, 1.0) if rng.random() < 0.4 else rng.uniform(1.0, 4.0))
    rest = scene.wave / (1.0 + z)
    slope = np.where(rest < BREAK, SLOPES[0] + rng.normal(0.0, 0.35), SLOPES[1] + rng.normal(0.0, 0.5))
    light = (rest / BREAK) ** slope
    width, strength = np.exp(rng.normal(0.0, 0.35)), 10.0 ** rng.normal(0.0, 0.15)
    place, equivalent, sigma = np.array(BROAD_LINES).T
    sigma = sigma * width
    equivalent = equivalent * strength * 10.0 ** rng.normal(0.0, 0.12, len(place))
    total = 1.0 + _lines(rest, place, equivalent / sigma / 2.5066, sigma, rng.uniform(0.0, 0.5))
    place, equivalent = np.array(NARROW_LINES).T
    narrow = place * rng.uniform(200.0, 500.0) / KMS
    total += _lines(rest, place, equivalent * 10.0 ** rng.normal(0.0, 0.35) / narrow / 2.5066, narrow, 0.0)
    place, equivalent, sigma = np.array(IRON).T
    total += _lines(rest, place, equivalent * 10.0 ** rng.normal(0.0, 0.25) / sigma / 2.5066, sigma, 0.0)
    if rng.random() < 0.1:
        line = 1549.1 if z > 1.2 else 2800.0
        centre, wide = line * (1.0 - rng.uniform(4e3, 15e3) / KMS), line * rng.uniform(800.0, 3000.0) / KMS
        total *= 1.0 - rng.uniform(0.3, 0.95) * np.exp(-0.5 * ((rest - centre) / wide) ** 4)
    forest = np.exp(-0.0036 * (scene.wave / 1215.7) ** 3.46 * rng.gamma(4.0, 0.25, BINS))
    return Made(light * total * np.where(rest < 1215.7, forest, 1.0), z, "AGN", -1)


def white_dwarf(scene: Scene) -> Made:
    """Return a white dwarf: lines of hydrogen (DA) or of helium (DB) that pressure broadens, on a black body.

    Depths and widths span those of Wesemael et al. (1993, PASP 105, 761): H beta 0.1 to 0.6 deep, 30 to 100 Angstrom
    wide, the higher lines closing up; He I strongest at 4471 and 5876 Angstrom.
    """
    rng = scene.rng
    hydrogen = rng.random() < 0.6
    light = planck(scene.wave, rng.uniform(7e3, 50e3) if hydrogen else rng.uniform(12e3, 30e3))
    deep, wide = rng.uniform(0.1, 0.6), rng.uniform(12.0, 40.0)
    if hydrogen:
        depths = deep * np.array([0.75, 1.0, 0.95, 0.85, 0.7, 0.45, 0.3])
        lines = _lines(scene.wave, BALMER, depths, wide * np.array([0.9, 1.0, 0.95, 0.85, 0.7, 0.5, 0.4]), 0.7)
    else:
        depths = 0.7 * deep * np.array([0.8, 0.9, 0.5, 1.0, 0.5, 0.6, 0.4, 0.9, 0.6, 0.5])
        lines = _lines(scene.wave, HELIUM, depths, np.full(len(HELIUM), 0.6 * wide), 0.6)
    return Made(light * np.clip(1.0 - lines, 0.05, None), 0.0, "Star", -1)


def variable(scene: Scene) -> Made:
    """Return a cataclysmic variable: quiet, with lines of H and He in emission; or in outburst, in absorption as well.

    Equivalent widths and widths span those of Williams (1983, ApJS 53, 523) and Warner (1995, Cataclysmic Variable
    Stars, section 2.2): H beta 5 to 120 Angstrom, 600 to 2,500 km/s; He I a fifth to a half of it.
    """
    rng = scene.rng
    light = (scene.wave / BREAK) ** rng.uniform(-3.5, -0.5)
    speed = rng.uniform(250.0, 1000.0) / KMS
    places = np.array([*BALMER, *HELIUM, *HIGH])
    sigma = np.hypot(places * speed, 3.0)
    ratio = np.concatenate([[1.5, 1.0, 0.85, 0.7, 0.5, 0.4, 0.3], np.full(len(HELIUM), 0.0), [0.0, 0.0]])
    ratio[7:17] = rng.uniform(0.1, 0.5) * np.array([0.6, 0.5, 0.3, 1.0, 0.3, 0.6, 0.6, 1.0, 0.6, 0.4])
    ratio[17:] = rng.choice([0.0, 0.1, 0.3, 0.9]) * np.array([1.0, 0.5])
    if rng.random() < 0.65:
        lines = _lines(scene.wave, places, rng.uniform(5.0, 120.0) * ratio / sigma / 2.5066, sigma, 0.1)
        if rng.random() < 0.6:  # two peaks of a disc
            gap = round(rng.uniform(0.8, 1.3) * speed / STEP)
            lines = 0.5 * (np.roll(lines, gap) + np.roll(lines, -gap))
    else:
        lines = -_lines(scene.wave, places[:7], rng.uniform(0.08, 0.3) * ratio[:7], 20.0 * np.ones(7), 0.5)
        lines += _lines(scene.wave, places, rng.uniform(0.0, 10.0) * ratio / sigma / 2.5066, sigma, 0.0)
    return Made(light * np.clip(1.0 + lines, 0.05, None), 0.0, "Star", -1)


def cool_star(scene: Scene) -> Made:
    """Return an M or carbon star of the bank with bands weaker or stronger than its own, on a black body."""
    rng = scene.rng
    row = int(rng.choice(np.flatnonzero(scene.kinds == "Star")))
    bands = scene.bank.flat[row].astype(float) * rng.uniform(0.5, 1.3)
    light = np.clip(1.0 + bands, 0.02, None) * planck(scene.wave, rng.uniform(2400.0, 4500.0))
    first, last = scene.bank.spans[row]
    inside = (np.arange(BINS) >= first) & (np.arange(BINS) < last)
    return Made(np.where(inside, light, np.nan), 0.0, "Star", row)


def featureless(scene: Scene) -> Made:
    """Return a hot continuum without lines: a BL Lac object's power law or a black body."""
    rng = scene.rng
    if rng.random() < 0.5:
        return Made((scene.wave / BREAK) ** rng.uniform(-2.5, 0.0), UNTOLD, "AGN", -1)
    return Made(planck(scene.wave, rng.uniform(10e3, 60e3)), 0.0, "Star", -1)


MAKERS = {quasar: 500, variable: 250, cool_star: 200, white_dwarf: 150, featureless: 120}
"""What is made, and how many of each."""


def other(scene: Scene, number: int) -> tuple[Any, Any, Made, str]:
    """Return flux, good bins, what it is and a name of its own for the number-th of these spectra."""
    maker = list(MAKERS)[int(np.searchsorted(np.cumsum(list(MAKERS.values())), number, side="right"))]
    made = maker(scene)
    flux = made.flux / np.nanmedian(made.flux)
    if made.kind == "Star" and scene.rng.random() < 0.5:
        flux = flux * 10.0 ** (-0.4 * scene.rng.exponential(0.3) * (scene.wave / 5500.0) ** -1.3)
    seen = scene.tilt(flux)
    return (*scene.as_if_real(np.nan_to_num(seen), np.isfinite(seen)), made, f"{maker.__name__} {number}")
