"""Emission lines of many short spectra at once: Gaussians integrated over pixels, and what moves them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from nightpipe.kernels.arrays import F64, float64, same_shape
from nightpipe.kernels.build import helper, kernel
from nightpipe.kernels.threads import each_strip

REACH = 5.0
"""Where a line ends, in its own sigma."""
_STRIP = 64
_ROOT = math.sqrt(2.0)
_NORM = 1.0 / math.sqrt(2.0 * math.pi)


@helper
def _below(t: float) -> float:
    return 0.5 * (1.0 + math.erf(t / _ROOT))


@kernel
def _design(place: F64, sigma: F64, flux: F64, along: F64, moves: int, widths: int, gains: int, out: F64) -> None:
    for k in range(place.shape[0]):
        for n in range(place.shape[1]):
            amount = flux[k, n]
            if amount == 0.0:
                continue
            x, s, v = place[k, n], sigma[k, n], along[n]
            first = max(int(x - REACH * s), 0)
            b = (first - 0.5 - x) / s
            below, gb = _below(b), _NORM * math.exp(-0.5 * b * b)
            for i in range(first, min(int(x + REACH * s) + 2, out.shape[1])):
                a, under, ga = b, below, gb  # where one pixel ends, the next begins
                b = (i + 0.5 - x) / s
                below = _below(b)
                share = amount * (below - under)
                out[k, i, 0] += share
                if moves + widths:
                    gb = _NORM * math.exp(-0.5 * b * b)
                    moved, wider = -amount * (gb - ga) / s, -amount * (b * gb - a * ga) / s
                    power = 1.0
                    for j in range(moves):
                        out[k, i, 1 + j] += moved * power
                        power *= v
                    power = 1.0
                    for j in range(widths):
                        out[k, i, 1 + moves + j] += wider * power
                        power *= v
                power = 1.0
                for j in range(gains):
                    out[k, i, 1 + moves + widths + j] += share * power
                    power *= v


@kernel
def _each(place: F64, sigma: F64, out: F64) -> None:
    for n in range(place.shape[0]):
        x, s = place[n], sigma[n]
        first = max(int(x - REACH * s), 0)
        below = _below((first - 0.5 - x) / s)
        for i in range(first, min(int(x + REACH * s) + 2, out.shape[1])):
            under, below = below, _below((i + 0.5 - x) / s)
            out[n, i] = below - under


def design(
    place: ArrayLike, sigma: ArrayLike, flux: ArrayLike, along: ArrayLike, size: int, *, moves: int, widths: int,
    gains: int,
) -> F64:  # fmt: skip
    """Return model and derivatives (n, size, 1 + moves + widths + gains) of n spectra of `size` pixels.

    Lines lie at `place` (n, l) [pixel from the first] with `sigma` (n, l) [pixel] and `flux` (n, l); `along` (l,) is
    the coordinate in which place, width and gain of a spectrum are polynomials: the derivatives are with regard to
    their coefficients.
    """
    x, s, light = float64(place), float64(sigma), float64(flux)
    same_shape("places, widths and fluxes", x, s, light)
    out = np.zeros((x.shape[0], size, 1 + moves + widths + gains))
    powers = float64(along)

    def work(a: int, b: int) -> None:
        _design(x[a:b], s[a:b], light[a:b], powers, moves, widths, gains, out[a:b])

    each_strip(work, len(out), _STRIP)
    return out


def each(place: ArrayLike, sigma: ArrayLike, size: int) -> F64:
    """Return the share of each line (l,) of one spectrum in each pixel, (l, size)."""
    out = np.zeros((len(float64(place)), size))
    _each(float64(place), float64(sigma), out)
    return out


def rehearse() -> None:
    """Compile the kernels of this module."""
    one = np.full((1, 1), 5.2)
    design(one, np.ones((1, 1)), one, np.zeros(1), 12, moves=2, widths=1, gains=1)
    each(one[0], np.ones(1), 12)


def model_plain(place: F64, sigma: F64, flux: F64, size: int) -> F64:
    """Return the model (n, size) alone, in numpy: the oracle of `design`."""
    from scipy.special import ndtr

    edges = np.arange(size + 1) - 0.5
    below = ndtr((edges - place[..., None]) / sigma[..., None])
    return np.asarray((flux[..., None] * np.diff(below, axis=2)).sum(axis=1))
