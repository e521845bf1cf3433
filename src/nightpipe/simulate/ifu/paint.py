"""Spectra painted onto the detector: wavelength to columns, lines as lines, profiles integrated over pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.simulate.ifu.instrument import SIZE
from nightpipe.simulate.ifu.lattice import Lattice

FloatArray = NDArray[np.float64]
F32 = NDArray[np.float32]

WAVE = np.arange(3500.0, 10400.0, 8.0)
"""Vacuum wavelengths [A] at which continua are given: a quarter to a half of a pixel apart."""

_FINE = 4
_HALF = 9
_WINGS = ((0.95, 1.0), (0.05, 2.6))  # weight and width of the parts of a trace's profile: no single Gaussian


def painted(lenslets: Lattice, density: FloatArray, lines: FloatArray, strength: FloatArray) -> F32:
    """Return the expected electrons (2048, 2048).

    `density` (n, len(WAVE)) [e-/A] is each lenslet's continuum as it arrives, `lines` (m,) wavelengths [A] and
    `strength` (n, m) [e-] its lines. Each is scattered by the line-spread function along x and the profile across.
    """
    image = np.zeros((SIZE, SIZE), np.float32)
    for k in range(len(lenslets)):
        first, light = along_columns(lenslets, k, density[k], lines, strength[k])
        if light.size:
            _spread(image, lenslets, k, first, light)
    return image


def along_columns(
    lenslets: Lattice, k: int, density: FloatArray, lines: FloatArray, strength: FloatArray
) -> tuple[int, FloatArray]:
    """Return the first column and the electrons by column of one lenslet's spectrum, blurred by its line width."""
    places = lenslets.column(k, WAVE)  # grows towards the blue
    first, last = int(np.floor(places.min())) - 5, int(np.ceil(places.max())) + 6
    edges = np.arange(first * _FINE, last * _FINE + 1) / _FINE - 0.5
    order = slice(None) if places[0] < places[-1] else slice(None, None, -1)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2.0 * np.diff(WAVE))])
    total = cumulative[-1] - cumulative if places[0] > places[-1] else cumulative
    below = np.interp(edges, places[order], total[order])
    spectrum = np.diff(below)
    if lines.size:
        where = (lenslets.column(k, lines) + 0.5) * _FINE - first * _FINE - 0.5
        low = np.floor(where).astype(int)
        share = where - low
        good = (low >= 0) & (low < spectrum.size - 1)
        np.add.at(spectrum, low[good], (strength * (1 - share))[good])
        np.add.at(spectrum, low[good] + 1, (strength * share)[good])
    return first, _blurred(spectrum, float(lenslets.line[k])).reshape(-1, _FINE).sum(axis=1)


def _blurred(spectrum: FloatArray, sigma: float) -> FloatArray:
    """Return the spectrum after the line-spread function: a Gaussian with a faint skirt."""
    reach = np.arange(-6 * _FINE, 6 * _FINE + 1) / _FINE
    kernel = np.exp(-0.5 * (reach / sigma) ** 2) + 0.012 * np.exp(-0.5 * (reach / (2.4 * sigma)) ** 2)
    return np.convolve(spectrum, kernel / kernel.sum(), mode="same")


def _spread(image: F32, lenslets: Lattice, k: int, first: int, light: FloatArray) -> None:
    """Add one spectrum to the image, each column's light over the rows about its trace."""
    from scipy.special import ndtr

    columns = np.arange(first, first + light.size)
    on = (columns >= 0) & (columns < SIZE)
    columns, light = columns[on], light[on]
    if not columns.size:
        return
    centre = lenslets.row(k, columns.astype(float))
    low = np.floor(centre).astype(int) - _HALF
    edges = low[:, None] + np.arange(2 * _HALF + 2)[None, :] - 0.5 - centre[:, None]
    width = lenslets.width[k]
    share = sum(weight * np.diff(ndtr(edges / (width * factor)), axis=1) for weight, factor in _WINGS)
    rows = low[:, None] + np.arange(2 * _HALF + 1)[None, :]
    inside = (rows >= 0) & (rows < SIZE)
    values = (share * light[:, None]).astype(np.float32)
    image[rows[inside], np.broadcast_to(columns[:, None], rows.shape)[inside]] += values[inside]


def scattered(image: F32, share: float) -> F32:
    """Return the image with a `share` of its light scattered wide (150 pixels rms) and another of it less (45)."""
    from scipy.ndimage import gaussian_filter, zoom

    coarse = image.reshape(SIZE // 8, 8, SIZE // 8, 8).mean(axis=(1, 3))
    wide = 0.7 * gaussian_filter(coarse, 150.0 / 8, mode="constant") + 0.3 * gaussian_filter(coarse, 45.0 / 8)
    return np.asarray((1.0 - share) * image + share * zoom(wide, 8, order=1), dtype=np.float32)
