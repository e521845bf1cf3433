"""One template against a spectrum, as SNID does it: trimmed to the common range, r, lap, rlap, a refined redshift."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from nightpipe.maths.logflux import BINS, STEP, Flat, band
from nightpipe.maths.matching import F32, I64

FloatArray = NDArray[np.float64]

TAPER = 51
"""Bins over which a trimmed end falls to zero: 5% of the grid."""
SEARCH = 14
"""The peak is looked for within so many bins of where the templates were put."""
ZK = 2.0
"""Of the formal error of the redshift, ``ZK w / (1 + rlap)``, in SNID 5.0."""


class Compared(NamedTuple):
    """The numbers of SNID for each template: redshift, its formal error, r, lap [ln wavelength], rlap (templates,)."""

    z: FloatArray
    z_error: FloatArray
    r: FloatArray
    lap: FloatArray
    rlap: FloatArray


def compare(flat: Flat, templates: F32, spans: I64, lag: int | I64, cut: float = BINS / 10) -> Compared:
    """Trim spectrum and templates to the range they share when shifted by `lag`, and correlate them anew.

    Blondin & Tonry 2007, sections 2.4 to 2.6: h is the height of the normalised correlation within the band, sigma_a
    the rms of its antisymmetric part about the peak, ``r = h / (2 sigma_a)`` (as SNID 5.0 computes it), lap the shared
    range in ln(wavelength), and the error of the redshift ``2 w / (1 + rlap)``, w the peak's full width at half
    maximum. Templates that share fewer than 60 bins have rlap 0.
    """
    shift = np.broadcast_to(np.asarray(lag, dtype=np.int64), (len(templates),))
    first, last = flat.span
    low = np.maximum(spans[:, 0] + shift, first)
    high = np.minimum(spans[:, 1] + shift, last)
    data = _tapered(np.broadcast_to(flat.value, templates.shape), low, high)
    model = _tapered(templates, low - shift, high - shift)
    spectrum, template = rfft(data, axis=-1), rfft(model, axis=-1)
    bell = band(BINS, cut)
    cross = spectrum * np.conj(template)
    height = irfft(cross * bell, BINS, axis=-1)
    norm = _rms(spectrum, bell) * _rms(template, bell)
    peak, half, value = _peaks(height, shift)
    k = np.arange(BINS // 2 + 1)
    turned = cross * np.exp(2j * np.pi * k * peak[:, None] / BINS)
    odd = np.sqrt(2.0 * np.sum((bell * turned.imag) ** 2, axis=-1)) / BINS
    usable = (high - low >= 60) & (norm > 0) & (value > 0)
    h = np.where(usable, value / np.maximum(norm * BINS, 1e-30), 0.0)
    sigma = odd / np.maximum(norm * BINS, 1e-30)
    r = np.where(usable, np.minimum(h / np.maximum(2.0 * sigma, 1e-6), 999.9), 0.0)
    lap = np.maximum(high - low, 0) * STEP
    rlap = r * lap
    return Compared(np.expm1(peak * STEP), ZK * np.expm1(half * STEP) / (1.0 + rlap), r, lap, rlap)


def _tapered(values: NDArray[np.floating], low: I64, high: I64) -> FloatArray:
    """Return rows cut to [low, high) and brought to zero at both ends with cosine bells."""
    bins = np.arange(BINS)
    inside = np.minimum(bins - low[:, None], high[:, None] - 1 - bins)
    reach = np.minimum(TAPER, np.maximum((high - low) // 2, 2))[:, None]
    ramp = 0.5 * (1.0 - np.cos(np.pi * np.clip(inside / (reach - 1), 0.0, 1.0)))
    return np.where(inside >= 0, ramp * np.asarray(values, dtype=np.float64), 0.0)


def _rms(transform: NDArray[np.complex128], bell: FloatArray) -> FloatArray:
    """Return the rms of each row within the band."""
    return np.asarray(np.sqrt(2.0 * np.sum(bell * np.abs(transform) ** 2, axis=-1)) / BINS)


def _peaks(height: FloatArray, shift: I64) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return place [bins], full width at half maximum [bins] and height of each row's peak near its shift."""
    around = shift[:, None] + np.arange(-SEARCH, SEARCH + 1)
    rows = np.arange(len(height))
    best = around[rows, np.argmax(np.take_along_axis(height, around % BINS, axis=1), axis=1)]
    reach = np.arange(-40, 41)
    near = np.take_along_axis(height, (best[:, None] + reach) % BINS, axis=1)
    fits = np.array([_peak(row) for row in near]).reshape(-1, 3)
    return best + fits[:, 0], fits[:, 1], fits[:, 2]


def _peak(values: FloatArray) -> tuple[float, float, float]:
    """Fit a quartic to a peak about the middle of `values`; return its offset, full width at half maximum and height.

    It is fitted down to half the height, three bins at least on each side: a parabola through three points scatters
    the redshift by 0.001.
    """
    middle = len(values) // 2
    half = 0.5 * values[middle]
    below = np.flatnonzero(values < half)
    left = int(below[below < middle].max(initial=0))
    right = int(below[below > middle].min(initial=len(values) - 1))
    width = _crossing(values, right, half, -1) - _crossing(values, left, half, 1)
    reach = max(min(middle - left, right - middle, 20), 3)
    x = np.arange(-reach, reach + 1, dtype=np.float64)
    powers = np.polynomial.polynomial.polyfit(x / reach, values[middle - reach : middle + reach + 1], 4)
    fine = np.linspace(-1.0, 1.0, 41) * min(1.0, 2.0 / reach)
    curve = np.polynomial.polynomial.polyval(fine, powers)
    top = int(np.argmax(curve))
    if 0 < top < 40:
        a, b, c = curve[top - 1 : top + 2]
        offset = fine[top] + 0.5 * (a - c) / (a - 2 * b + c) * (fine[1] - fine[0])
    else:
        offset = fine[top]
    return float(offset * reach), float(max(width, 1.0)), float(values[middle])


def _crossing(values: FloatArray, below: int, level: float, step: int) -> float:
    """Return where the values cross `level` between bin `below` and its neighbour towards the peak."""
    a, b = values[below], values[min(max(below + step, 0), len(values) - 1)]
    return below + step * float(np.clip((level - a) / (b - a), 0.0, 1.0)) if b != a else float(below)
