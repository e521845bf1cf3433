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
    size = _fast_length(len(template) + int(2.6 * scale))
    spectrum = np.conj(np.fft.rfft(template, size))
    sums = np.concatenate([[0.0], np.cumsum(template)]), np.concatenate([[0.0], np.cumsum(template**2)])
    found: list[Alignment] = []
    for stretch, bend, twist in trials:
        found += _best_shifts(signal, spectrum, sums, size, (scale, centre, reach), (stretch, bend, twist))
    return _distinct(found, keep, scale)


def _fast_length(n: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(n, real=True))


def _best_shifts(
    signal: FloatArray,
    spectrum: NDArray[np.complex128],
    sums: tuple[FloatArray, FloatArray],
    size: int,
    where: tuple[float, float, float],
    trial: tuple[float, float, float],
) -> list[Alignment]:
    """Return the three best local maxima over shift for one trial."""
    scale, centre, reach = where
    u = np.linspace(-1.0, 1.0, len(signal))
    offset = scale * (u * (1.0 + trial[0]) + trial[1] * u**2 + trial[2] * u**3)
    if np.any(np.diff(offset) <= 0):
        return []
    first, last = int(np.ceil(offset[0])), int(np.floor(offset[-1]))
    moved = np.interp(np.arange(first, last + 1), offset, signal)
    moved = moved - moved.mean()
    cross = np.fft.irfft(np.conj(spectrum) * np.conj(np.fft.rfft(moved, size)), size)
    start = np.arange(max(int(centre - reach) + first, 0), int(centre + reach) + first + 1)
    start = start[start + len(moved) < len(sums[0])]
    if len(start) < 3:
        return []
    total, square = (s[start + len(moved)] - s[start] for s in sums)
    spread = np.sqrt(np.maximum(square - total**2 / len(moved), 1e-12))
    score = cross[start] / (spread * np.sqrt(np.sum(moved**2)) + 1e-12)
    peak = np.flatnonzero((score[1:-1] >= score[:-2]) & (score[1:-1] > score[2:])) + 1
    peak = peak[np.argsort(-score[peak])[:3]]
    return [Alignment(float(start[k] - first), *trial, float(score[k])) for k in peak]


def _distinct(found: list[Alignment], keep: int, scale: float) -> list[Alignment]:
    """Return the best alignments of which no two put both ends and the middle within one per cent of the length."""
    chosen: list[Alignment] = []
    for one in sorted(found, key=lambda a: -a.score):
        if all(_apart(one, other, scale) > 0.02 * scale for other in chosen):
            chosen.append(one)
        if len(chosen) == keep:
            break
    return chosen


def _apart(a: Alignment, b: Alignment, scale: float) -> float:
    u = np.array([-0.8, 0.0, 0.8])
    bent = scale * ((a.stretch - b.stretch) * u + (a.bend - b.bend) * u**2 + (a.twist - b.twist) * u**3)
    return float(np.max(np.abs(a.shift - b.shift + bent)))
