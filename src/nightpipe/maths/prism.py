"""A prism's dispersion: where along a spectrum a wavelength falls, from a handful of lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PrismLaw:
    """The place [pixel] of vacuum wavelengths [Angstrom]: ``a + b / (w - c) + d w``, w in micron.

    Hartmann's formula (1898, ApJ 8, 218) with a linear term: it has the run of a glass prism over an octave and more,
    and stays monotonic beyond the lines that it was fitted to.
    """

    a: float
    b: float
    c: float
    d: float

    def __call__(self, wave: ArrayLike) -> FloatArray:
        w = np.asarray(wave, dtype=np.float64) / 1e4
        return np.asarray(self.a + self.b / (w - self.c) + self.d * w)

    def slope(self, wave: ArrayLike) -> FloatArray:
        """Return pixels per Angstrom."""
        w = np.asarray(wave, dtype=np.float64) / 1e4
        return np.asarray((self.d - self.b / (w - self.c) ** 2) / 1e4)


def fit_prism(features: Sequence[tuple[float, float]]) -> PrismLaw:
    """Return the law through `features`, (wavelength, place) of at least four lines, by least squares.

    For a given c the rest is linear; c is searched below the shortest line.
    """
    wave, place = np.array(features, dtype=np.float64).T
    w = wave / 1e4
    best: tuple[float, FloatArray, float] | None = None
    for c in w.min() - np.geomspace(0.02, 2.0, 400):
        basis = np.column_stack([np.ones_like(w), 1.0 / (w - c), w])
        coef = np.linalg.lstsq(basis, place, rcond=None)[0]
        chi2 = float(np.sum((place - basis @ coef) ** 2))
        if best is None or chi2 < best[0]:
            best = chi2, coef, float(c)
    if best is None:
        raise ValueError("a prism's law needs lines")
    a, b, d = best[1].tolist()
    return PrismLaw(a, b, best[2], d)
