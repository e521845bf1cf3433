"""What shines: spectra above the atmosphere [erg/s/cm2/A] as functions of vacuum wavelength [A]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.model.references import Standard

FloatArray = NDArray[np.float64]
Light = Callable[[FloatArray], FloatArray]

_V_ZERO = 3.63e-9
_QUASAR_LINES = (
    (1215.7, 1.2, 25.0),
    (1549.1, 0.5, 20.0),
    (1908.7, 0.32, 25.0),
    (2799.1, 0.4, 28.0),
    (4341.7, 0.15, 30.0),
    (4862.7, 0.5, 35.0),
    (5008.2, 0.35, 8.0),
    (6564.6, 2.2, 45.0),
)
_SUPERNOVA_DIPS = (
    (3800.0, 0.55, 90.0),
    (4130.0, 0.25, 45.0),
    (4300.0, 0.4, 80.0),
    (4800.0, 0.5, 100.0),
    (5400.0, 0.28, 70.0),
    (5640.0, 0.24, 70.0),
    (6130.0, 0.5, 65.0),
    (8150.0, 0.6, 130.0),
)
_GALAXY_LINES = (
    (3728.5, 1.0),
    (4862.7, 0.45),
    (4960.3, 0.3),
    (5008.2, 0.9),
    (6549.9, 0.12),
    (6564.6, 1.4),
    (6585.3, 0.38),
    (6718.3, 0.25),
    (6732.7, 0.2),
)


@dataclass(frozen=True)
class Target:
    """Something in the slit: `light` its spectrum, `offset` arcsec along the slit from the pointing.

    `scale_length` [arcsec] is that of an exponential disc seen through the slit, 0 for a point.
    """

    name: str
    light: Light
    offset: float = 0.0
    scale_length: float = 0.0


def at_v(shape: Light, magnitude: float) -> Light:
    """Return the spectrum scaled to a V magnitude at 5500 A."""
    level = _V_ZERO * 10.0 ** (-0.4 * magnitude) / float(shape(np.array([5500.0]))[0])
    return lambda wave: level * shape(wave)


def planck(temperature: float) -> Light:
    """Return a black body of arbitrary level (per A)."""

    def shape(wave: FloatArray) -> FloatArray:
        return np.asarray((wave / 5500.0) ** -5 / np.expm1(1.4388e8 / (wave * temperature)))

    return shape


def star(temperature: float, magnitude: float) -> Light:
    """Return a star: a black body with Balmer lines, the Ca II H and K lines and the Mg b triplet."""
    body = planck(temperature)
    hot = np.exp(-(((temperature - 9500.0) / 3500.0) ** 2))
    lines = ((6564.6, 0.5 * hot, 12.0), (4862.7, 0.6 * hot, 12.0), (4341.7, 0.6 * hot, 11.0), (4102.9, 0.6 * hot, 10.0))
    cool = ((3934.8, 0.7 * (1 - hot), 8.0), (3969.6, 0.65, 8.0), (5175.0, 0.3 * (1 - hot), 14.0))
    return at_v(lambda wave: body(wave) * _dips(wave, (*lines, *cool), 0.0), magnitude)


def quasar(redshift: float, magnitude: float) -> Light:
    """Return a quasar: a power law with broad lines and the forest below Lyman alpha."""

    def shape(wave: FloatArray) -> FloatArray:
        rest = wave / (1.0 + redshift)
        lines = sum(height * np.exp(-0.5 * ((rest - line) / width) ** 2) for line, height, width in _QUASAR_LINES)
        forest = np.where(rest < 1215.7, 0.7, 1.0)
        return np.asarray((wave / 5500.0) ** -1.4 * (1.0 + lines) * forest)

    return at_v(shape, magnitude)


def supernova(redshift: float, magnitude: float) -> Light:
    """Return a type Ia supernova near maximum: a hot black body with broad P Cygni troughs and peaks."""
    body = planck(11000.0)

    def shape(wave: FloatArray) -> FloatArray:
        rest = wave / (1.0 + redshift)
        return np.asarray(body(rest) * _dips(rest, _SUPERNOVA_DIPS, 0.25))

    return at_v(shape, magnitude)


def galaxy(redshift: float, magnitude: float) -> Light:
    """Return a star-forming galaxy: two populations, a 4000 A break, and emission lines 3 A wide."""
    old, young = at_v(planck(4600.0), 0.0), at_v(planck(12000.0), 0.0)

    def shape(wave: FloatArray) -> FloatArray:
        rest = wave / (1.0 + redshift)
        continuum = 0.7 * old(rest) / (1.0 + np.exp((3990.0 - rest) / 25.0)) + 0.4 * young(rest)
        lines = sum(h * np.exp(-0.5 * ((rest - line) / 3.0) ** 2) for line, h in _GALAXY_LINES)
        return np.asarray(continuum * (1.0 + 3.0 * lines))

    return at_v(shape, magnitude)


def standard_light(standard: Standard) -> Light:
    """Return the tabulated standard: interpolated in log flux, held at its ends."""
    log_flux = np.log(np.maximum(standard.flux, 1e-30))
    return lambda wave: np.exp(np.interp(wave, standard.wave, log_flux))


def _dips(wave: FloatArray, lines: tuple[tuple[float, float, float], ...], peak: float) -> FloatArray:
    """Return 1 with Gaussian troughs, each with a peak `peak` times its depth two widths redwards."""
    shape = np.ones_like(wave)
    for line, depth, width in lines:
        shape *= 1.0 - depth * np.exp(-0.5 * ((wave - line) / width) ** 2)
        shape += peak * depth * np.exp(-0.5 * ((wave - line - 2.2 * width) / width) ** 2)
    return shape
