"""Correlations: shift, stretch and bend that lay one comb of lines on another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """Where a signal lies in a template: ``position(u) = shift + scale * (u + stretch u + bend u^2 + twist u^3)``.

    u runs from -1 to 1 along the signal; `score` is Pearson's correlation there.
    """

    shift: float
    stretch: float
    bend: float
    twist: float
    score: float


def align(
    signal: FloatArray,
    template: FloatArray,
    *,
    scale: float,
    centre: float,
    reach: float,
    trials: FloatArray,
    keep: int = 12,
) -> list[Alignment]:
    """Return the `keep` best distinct alignments of `signal` in a uniformly sampled `template`.

    `scale` is half the signal's length in template samples, `centre` and `reach` where its middle may lie [samples],
    `trials` (m, 3) the stretch, bend and twist to try. For each trial the signal is resampled and Pearson's correlation
    found for all shifts at once by FFT, with the template's mean and variance under the signal's footprint.
    """
    from scipy.fft import rfft

    size = _fast_length(len(template) + int(2.6 * scale))
    spectrum = np.conj(rfft(template.astype(np.float32), size))
    sums = np.concatenate([[0.0], np.cumsum(template)]), np.concatenate([[0.0], np.cumsum(template**2)])
    found: list[tuple[float, ...]] = []
    for stretch, bend, twist in trials:
        found += _best_shifts(signal, spectrum, sums, size, (scale, centre, reach), (stretch, bend, twist))
    return _distinct(np.array(found).reshape(-1, 5), keep, scale)


def _fast_length(n: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(n, real=True))


def _best_shifts(
    signal: FloatArray,
    spectrum: NDArray[np.complex64],
    sums: tuple[FloatArray, FloatArray],
    size: int,
    where: tuple[float, float, float],
    trial: tuple[float, float, float],
) -> list[tuple[float, ...]]:
    """Return the three best local maxima over shift for one trial: shift, stretch, bend, twist, score."""
    from scipy.fft import irfft, rfft

    scale, centre, reach = where
    u = np.linspace(-1.0, 1.0, len(signal))
    offset = scale * (u * (1.0 + trial[0]) + trial[1] * u**2 + trial[2] * u**3)
    if np.any(np.diff(offset) <= 0):
        return []
    first, last = int(np.ceil(offset[0])), int(np.floor(offset[-1]))
    moved = np.interp(np.arange(first, last + 1), offset, signal)
    moved = moved - moved.mean()
    cross = irfft(np.conj(spectrum * rfft(moved.astype(np.float32), size)), size)
    start = np.arange(max(int(centre - reach) + first, 0), int(centre + reach) + first + 1)
    start = start[start + len(moved) < len(sums[0])]
    if len(start) < 3:
        return []
    total, square = (s[start + len(moved)] - s[start] for s in sums)
    spread = np.sqrt(np.maximum(square - total**2 / len(moved), 1e-12))
    score = cross[start] / (spread * np.sqrt(np.sum(moved**2)) + 1e-12)
    peak = np.flatnonzero((score[1:-1] >= score[:-2]) & (score[1:-1] > score[2:])) + 1
    peak = peak[np.argsort(-score[peak])[:3]]
    return [(float(start[k] - first), *trial, float(score[k])) for k in peak]


def _distinct(found: FloatArray, keep: int, scale: float) -> list[Alignment]:
    """Return the best alignments of which no two put both ends and the middle within one per cent of the length."""
    u = np.array([-0.8, 0.0, 0.8])
    place = found[:, :1] + scale * (u + found[:, 1:2] * u + found[:, 2:3] * u**2 + found[:, 3:4] * u**3)
    free = np.ones(len(found), dtype=bool)
    chosen: list[Alignment] = []
    for k in np.argsort(-found[:, 4]):
        if free[k]:
            free &= np.max(np.abs(place - place[k]), axis=1) > 0.02 * scale
            chosen.append(Alignment(*(float(v) for v in found[k])))
        if len(chosen) == keep:
            break
    return chosen
