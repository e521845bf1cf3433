"""Which lamp a frame shows, and where its lines begin to be looked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightpipe.kernels import linefield
from nightpipe.maths.prism import PrismLaw
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.references import LineList
from nightpipe.model.spaxels import Spaxel, SpaxelSet

FloatArray = NDArray[np.float64]
EDGE = 25
"""Pixels beyond the nominal ends of the light in the mean spectrum of a lamp."""


@dataclass(frozen=True)
class Lamp:
    """One lamp's frame: `name` by its header, `seen` by its content; `likeness` to each known lamp, `shift` [pixel] of
    its lines from their nominal places along the spectrum.
    """

    name: str
    seen: str
    likeness: dict[str, float]
    shift: float


def mean_spectrum(spectra: SpaxelSpectra, spaxels: SpaxelSet, origin: float, size: int) -> FloatArray:
    """Return the median spectrum (size,) of the lenslets, laid upon each other by their middles.

    Element 0 is `origin` pixels from the middle; the ends are zero.
    """
    from scipy.ndimage import map_coordinates

    whole = (spaxels.state == Spaxel.MEASURED) & (spaxels.span[:, 0] > 0)
    whole &= spaxels.span[:, 1] < spaxels.shape[1] - 1
    chosen = np.flatnonzero(whole)[:: max(int(whole.sum()) // 300, 1)]
    rows = []
    for k in chosen:
        place = spaxels.x[k] + origin + np.arange(size) - spectra.first[k]
        good = np.where(spectra.good[k], spectra.flux[k], 0.0)
        rows.append(map_coordinates(good.astype(np.float64), place[None], order=1, mode="constant"))
    return np.asarray(np.median(rows, axis=0))


def look(
    spectrum: FloatArray, name: str, lines: dict[str, LineList], law: PrismLaw, zero: float, sigma: float, *, reach: int
) -> Lamp:
    """Return what a lamp's mean spectrum shows: which of the lamps of `lines`, by how much its lines are shifted.

    `zero` is the place of the spectrum's first element in the law's pixels. Spectra are compared by their square
    roots, so that two bright lines do not decide alone, at all shifts up to `reach` pixels; likeness is the
    correlation coefficient.
    """
    seen = _compressed(spectrum)
    found = {known: _correlated(seen, _expected(lines[known], law, zero, sigma, len(seen)), reach) for known in lines}
    best = max(found, key=lambda known: found[known][0])
    own = name if name in found else best
    return Lamp(name, best, {known: value[0] for known, value in found.items()}, found[own][1])


def _expected(lines: LineList, law: PrismLaw, zero: float, sigma: float, size: int) -> FloatArray:
    place = law(lines.wave) - zero
    shares = linefield.each(place, np.full(len(place), sigma), size)
    strength = lines.intensity / lines.intensity.max()
    return _compressed(strength**0.75 @ shares)


def _compressed(spectrum: FloatArray) -> FloatArray:
    level = np.maximum(spectrum - np.percentile(spectrum, 20), 0.0)
    root = np.sqrt(level / max(float(level.max()), 1e-12))
    return np.asarray(root - root.mean())


def _correlated(seen: FloatArray, expected: FloatArray, reach: int) -> tuple[float, float]:
    """Return the highest correlation coefficient and its shift, between pixels by a parabola."""
    shifts = np.arange(-reach, reach + 1)
    norm = np.sqrt(np.sum(seen**2) * np.sum(expected**2)) + 1e-12
    values = np.array([np.sum(seen * np.roll(expected, s)) for s in shifts]) / norm
    top = int(np.clip(np.argmax(values), 1, len(shifts) - 2))
    a, b, c = values[top - 1 : top + 2]
    bend = a - 2.0 * b + c
    return float(values[top]), float(shifts[top] + (0.5 * (a - c) / bend if bend < 0 else 0.0))
