"""Stars and galaxies as sums of Gaussians: what seeing, guiding and a pixel do to them is then a sum of variances."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SIGMA = 0.4155
"""Rms width of the Gaussian in a star's image over its FWHM."""
ALPHA = 1.2
"""Radius of the Moffat over the FWHM; its exponent is `BETA`."""
BETA = 4.35
HALO = 0.835
"""Radius of the halo over the FWHM: a Moffat of exponent 11/6, the slope of turbulent wings (Racine 1996)."""
SHARES = (0.608, 0.1425)
"""The Moffat's share of Gauss plus Moffat, and the halo's of all.

These five numbers make Kolmogorov's long-exposure image (transform of ``exp(-3.44 (lambda f / r0)^(5/3))``, Fried 1966)
to 0.2% of its peak and 0.08% of its encircled light.
"""

_STEP = 0.8
_TABLE = np.exp(0.5 * _STEP * np.arange(-3.0, 9.0))
"""Widths [FWHM] of the Gaussians that make a Moffat: 0.30 to 24."""


def star(moffat: float, halo: float) -> tuple[FloatArray, FloatArray]:
    """Return weights and rms widths [FWHM] (k,) of the Gaussians that make a star's image; the weights sum to one.

    Gauss plus Moffat (share `moffat`), and a `halo`. A Moffat is a sum of Gaussians whose inverse variances follow a
    gamma distribution: ``(1 + r^2/a^2)^-b = 1/Gamma(b) int t^(b-1) exp(-t (1 + r^2/a^2)) dt``, here by the trapezoidal
    rule in log t.
    """
    wings = (1.0 - halo) * moffat * _moffat(ALPHA, BETA) + halo * _moffat(HALO, 11.0 / 6.0)
    keep = _TABLE < 8.0  # wider ones are sky to any field of lenslets, and fall into the last
    wings = np.append(wings[keep][:-1], wings[keep][-1] + wings[~keep].sum())
    return np.append((1.0 - halo) * (1.0 - moffat), wings), np.append(SIGMA, _TABLE[keep])


def coarse(weight: FloatArray, width: FloatArray, count: int = 5) -> tuple[FloatArray, FloatArray]:
    """Return fewer Gaussians of the same light and mean variance in groups: enough to blur what is wide anyway."""
    order = np.argsort(width)
    groups = [group for group in np.array_split(order, count) if weight[group].sum() > 0]
    total = np.array([weight[group].sum() for group in groups])
    variance = [float(weight[group] @ width[group] ** 2) for group in groups]
    return total, np.sqrt(np.array(variance) / total)


@cache
def _moffat(alpha: float, beta: float) -> FloatArray:
    t = alpha**2 / (2.0 * _TABLE**2)
    weight = np.exp((beta - 1.0) * np.log(t) - t - math.lgamma(beta - 1.0)) * _STEP
    return np.asarray(weight / weight.sum())


def sersic(index: float) -> tuple[FloatArray, FloatArray]:
    """Return weights and rms widths [half-light radius] (k,) of the Gaussians that make a galaxy of Sersic's `index`.

    The widths are fixed; the weights solve for the profile's light in rings, and are never negative (after
    Hogg & Lang 2013, PASP 125, 719). `index`, from 0.5 to 4, is interpolated between tenths.
    """
    place = 10.0 * min(max(index, 0.5), 4.0)
    low = int(min(place, 39.0))
    (one, width), (two, _) = _sersic(low), _sersic(low + 1)
    weight = (low + 1 - place) * one + (place - low) * two
    keep = weight > 1e-3
    return weight[keep] / weight[keep].sum(), width[keep]


@cache
def _sersic(tenths: int) -> tuple[FloatArray, FloatArray]:
    from scipy.optimize import nnls

    index = tenths / 10.0
    b = 2.0 * index - 1.0 / 3.0 + 0.009876 / index  # Prugniel & Simien 1997, A&A 321, 111
    edge = np.geomspace(0.01, 12.0, 120)
    middle = np.sqrt(edge[1:] * edge[:-1])
    light = np.exp(-b * (middle ** (1.0 / index) - 1.0)) * np.diff(edge**2)
    width = np.geomspace(0.06, 3.6, 8)
    shape = np.exp(-0.5 * (edge[:-1, None] / width) ** 2) - np.exp(-0.5 * (edge[1:, None] / width) ** 2)
    weight, _ = nnls(shape / np.sqrt(light)[:, None], np.sqrt(light))
    return weight / weight.sum(), width
