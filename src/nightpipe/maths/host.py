"""How much of a spectrum is its host galaxy: template and galaxy added, in flattened or in absolute flux."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

DUST = np.arange(-0.5, 2.01, 0.25)
"""Trial extinctions [mag]; negative ones stand for templates that are redder than the spectrum."""
OWN_SCATTER = 0.08
"""Relative scatter of objects of one kind about each other."""


class Mixed(NamedTuple):
    """The best sum: `share` of the second part in the light, weighted residual power left, with and without it."""

    share: float
    left: float
    without: float


def mixed(data: FloatArray, weight: FloatArray, first: FloatArray, second: FloatArray) -> Mixed:
    """Fit ``data = a first + b second``, a and b not negative: flattened spectra add in the shares of their light.

    All (n,); `weight` is zero where a bin does not count. The share b / (a + b) is that of the flattened light, so it
    is an estimate: the two continua are taken to be alike.
    """
    aa, bb = float(np.sum(weight * first**2)), float(np.sum(weight * second**2))
    ab = float(np.sum(weight * first * second))
    da, db, dd = (float(np.sum(weight * data * other)) for other in (first, second, data))
    alone = max(da / aa, 0.0) if aa > 0 else 0.0
    without = dd - alone * da
    determinant = aa * bb - ab * ab
    if determinant <= 1e-9 * aa * bb:
        return Mixed(0.0, without, without)
    a, b = (da * bb - db * ab) / determinant, (db * aa - da * ab) / determinant
    if b <= 0:
        return Mixed(0.0, without, without)
    if a <= 0:
        return Mixed(1.0, dd - db * db / bb, without)
    return Mixed(b / (a + b), dd - a * da - b * db, without)


class FluxFitted(NamedTuple):
    """The best of the trials: `a_v` [mag], `share` of the host in the light, `chi` rms residual, `model` (n,)."""

    a_v: float
    share: float
    chi: float
    model: FloatArray


def flux_fit(
    wave: FloatArray, flux: FloatArray, var: FloatArray, template: FloatArray, hosts: FloatArray
) -> FluxFitted | None:
    """Fit ``flux = a template 10^(-0.4 A k) + b host`` over trial extinctions and hosts, a and b not negative.

    `wave` (n,) rest frame [Angstrom], `flux`, `var`, `template` (n,), `hosts` (m, n) which may be empty. The variance
    is increased by the scatter of objects of a kind. k is the curve of Cardelli, Clayton & Mathis 1989 with R_V 3.1, as
    a power law between 3,000 and 10,000 Angstrom (wave^-1.3, good to 6%). None where nothing overlaps.
    """
    usable = np.isfinite(template) & (template > 0) & (var > 0)
    if usable.sum() < 60:
        return None
    weight = np.where(usable, 1.0 / (var + (OWN_SCATTER * flux) ** 2 + 1e-300), 0.0)
    curve = (wave / 5500.0) ** -1.3
    best: FluxFitted | None = None
    for a_v in DUST:
        first = np.where(usable, template, 0.0) * 10.0 ** (-0.4 * a_v * curve)
        for host in [np.zeros_like(flux), *hosts]:
            second = np.where(np.isfinite(host), host, 0.0)
            found = _solved(flux, weight, first, second)
            chi = float(np.sqrt(np.sum(weight * (flux - found[0] * first - found[1] * second) ** 2) / usable.sum()))
            if best is None or chi < best.chi:
                model = found[0] * first + found[1] * second
                light = float(
                    np.sum(np.where(usable, found[1] * second, 0.0)) / max(float(np.sum(model[usable])), 1e-300)
                )
                best = FluxFitted(float(a_v), float(np.clip(light, 0.0, 1.0)), chi, np.where(usable, model, np.nan))
    return best


def _solved(data: FloatArray, weight: FloatArray, first: FloatArray, second: FloatArray) -> tuple[float, float]:
    aa, bb = float(np.sum(weight * first**2)), float(np.sum(weight * second**2))
    ab, da, db = (float(np.sum(weight * x * y)) for x, y in ((first, second), (data, first), (data, second)))
    determinant = aa * bb - ab * ab
    if bb <= 0 or determinant <= 1e-9 * aa * bb:
        return max(da / aa, 0.0), 0.0
    a, b = (da * bb - db * ab) / determinant, (db * aa - da * ab) / determinant
    if b < 0:
        return max(da / aa, 0.0), 0.0
    return (a, b) if a >= 0 else (0.0, max(db / bb, 0.0))
